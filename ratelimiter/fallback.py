"""What becomes of strict limits whose store does not answer: each rule says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from native.limits import Decision
from native.request import NOWHERE, Elsewhere, Mode, Question, Verdict, admits, is_admitted
from ratelimiter.asking import Asked
from ratelimiter.ruletree import OnStoreFailure

DENIED_RETRY_US = 1_000_000
"""What a limit that denies without its store tells callers to wait."""

Decide = Callable[[Sequence[Question], Elsewhere], Verdict]


def without_store(strict: Sequence[Asked], others: Elsewhere, decide: Decide) -> Verdict:
    """The verdict on strict limits; `decide` counts those that are to be counted here.

    A descriptor whose limits disagree is denied if one of them denies, and else counted.
    """
    denied = {one.question.descriptor for one in strict if one.limit.on_store_failure is OnStoreFailure.DENY}
    counted = {one.question.descriptor for one in strict if one.limit.on_store_failure is OnStoreFailure.LOCAL} - denied
    here = [one.question for one in strict if _is_counted(one, denied)]
    fixed = [one for one in strict if not _is_counted(one, denied)]
    decisions = {id(one): _fixed(one) for one in fixed}
    # What is counted speaks for its descriptor.
    speaking = [one for one in fixed if one.question.descriptor not in counted]
    said = Verdict(True, tuple(decisions[id(one)] for one in speaking))
    verdict = decide(here, elsewhere([one.question for one in speaking], said, others))
    of_counted = iter(verdict.decisions)
    return Verdict(
        verdict.admitted,
        tuple(next(of_counted) if _is_counted(one, denied) else decisions[id(one)] for one in strict),
    )


def elsewhere(questions: Sequence[Question], verdict: Verdict, others: Elsewhere = NOWHERE) -> Elsewhere:
    """What the next store is told of these questions, beside what `others` say."""
    if not questions:
        return others
    admitting = admits(questions, verdict.decisions)
    modes = {question.descriptor: question.mode for question in questions}
    quotas = [descriptor for descriptor, mode in modes.items() if mode & Mode.QUOTA]
    refusing = [d for d in quotas if not (admitting[d] or modes[d] & Mode.SHADOW)]
    enforced = [question for question in questions if not question.mode & Mode.QUOTA]
    return Elsewhere(
        others.refused or not is_admitted(enforced, admitting),
        others.quotas + len(quotas),
        others.quotas_refusing + len(refusing),
    )


def _is_counted(one: Asked, denied: set[int]) -> bool:
    return one.limit.on_store_failure is OnStoreFailure.LOCAL and one.question.descriptor not in denied


def _fixed(one: Asked) -> Decision:
    if one.limit.on_store_failure is OnStoreFailure.DENY and one.question.hits >= 0:
        return Decision(False, 0, DENIED_RETRY_US, DENIED_RETRY_US)
    return Decision(True, one.limit.limit.capacity, 0, 0)
