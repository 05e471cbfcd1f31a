"""One request that meets several limits is one decision: the definition.

Each limit that a request meets is a `Question`. A descriptor of the request may have several; it admits the request if
all of its limits do. The request is admitted if every descriptor admits it, apart from those in shadow mode, which are
asked and never refuse, and those in quota mode, which refuse only if all of them do. An admitted request charges every
descriptor that by itself admits it; a refused one charges nothing. Questions that share a counter are decided in order,
each as if those before it had been charged.

`Table.decide`, compiled and plain, and the Redis script give the answers of `decide` below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntFlag
from typing import NamedTuple

from native.limits import MAX, Decision, Limit, State, check, count, give_back, look, spend, take


class Mode(IntFlag):
    """How a question takes part in the decision, and what it charges."""

    PLAIN = 0
    SHADOW = 1
    """Decides and charges, but never refuses."""
    QUOTA = 2
    """Refuses only if all descriptors with this mode do."""
    COUNT_REJECTED = 4
    """Takes its hits, or what is left, also in a request that is refused; by whomever."""
    REFERENCE = 8
    """Counts always, as envoyproxy/ratelimit does (`native.limits.count`); fixed windows only."""


class Question(NamedTuple):
    """Whether one limit admits a request."""

    rule: tuple[str, ...]
    """Identity of the rule. All counters of one rule have one algorithm and one window."""
    values: tuple[str, ...]
    """What tells this counter from the rule's others."""
    limit: Limit
    hits: int
    """The cost. 0 looks: admitted while something is left. Negative ones are given back if the request is admitted."""
    descriptor: int = 0
    """Which descriptor of the request it belongs to; questions of one stand together."""
    mode: Mode = Mode.PLAIN


class Elsewhere(NamedTuple):
    """What other stores said of the same request."""

    refused: bool = False
    """It is refused already: decide and charge nothing but what is charged in any case."""
    quotas: int = 0
    """How many other descriptors are in quota mode,"""
    quotas_refusing: int = 0
    """and how many of them refuse."""


class Verdict(NamedTuple):
    """The decision on a request, and one for each question, in order."""

    admitted: bool
    decisions: tuple[Decision, ...]
    """Each by itself: `allowed` says whether this limit admits, whatever the request's mode or outcome."""


NOWHERE = Elsewhere()

Find = Callable[[Question], State]
"""The counter of a question as it is now, to look at; not changed through this."""
Keep = Callable[[Question], State]
"""The counter of a question to be changed; stored from now on."""


def decide(
    questions: Sequence[Question], now_us: int, find: Find, keep: Keep, elsewhere: Elsewhere = NOWHERE
) -> Verdict:
    """Decides on a request and charges what it has to.

    Raises OverflowError, before anything is charged, if hits or the time are out of their range (`native.limits.MAX`).
    """
    for question in questions:
        check(abs(question.hits), now_us)
    decisions: list[Decision] = []
    taken: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    for question in questions:
        if question.mode & Mode.REFERENCE:
            decisions.append(count(question.limit, keep(question), question.hits, now_us))
            continue
        if question.hits < 0:
            decisions.append(look(question.limit, find(question), 0, now_us)._replace(allowed=True, retry_after_us=0))
            continue
        counter = (question.rule, question.values)
        before = taken.get(counter, 0)
        hits = min(MAX, before + question.hits)
        decision = look(question.limit, find(question), hits, now_us)
        if decision.allowed:
            taken[counter] = hits
        decisions.append(decision)

    admitting = admits(questions, decisions)
    admitted = is_admitted(questions, admitting, elsewhere)
    for index, question in enumerate(questions):
        if question.mode & Mode.REFERENCE or question.hits == 0:
            continue
        if admitted and admitting[question.descriptor]:
            if question.hits < 0:
                state = keep(question)
                give_back(question.limit, state, -question.hits, now_us)
                decisions[index] = look(question.limit, state, 0, now_us)._replace(allowed=True, retry_after_us=0)
                continue
            spent = spend(question.limit, keep(question), question.hits, now_us)
            if spent.allowed:
                decisions[index] = spent
            else:
                # Other counters of this very request have taken room in the store since the look. The request is
                # admitted, so it is accounted for all the same.
                take(question.limit, keep(question), question.hits, now_us)
        elif question.mode & Mode.COUNT_REJECTED and question.hits > 0:
            state = keep(question)
            take(question.limit, state, question.hits, now_us)
            # The answer stands; what is left and when are those of afterwards.
            after = look(question.limit, state, question.hits, now_us)
            decisions[index] = after._replace(allowed=decisions[index].allowed)
    return Verdict(admitted, tuple(decisions))


def admits(questions: Sequence[Question], decisions: Sequence[Decision]) -> dict[int, bool]:
    """Whether each descriptor, by its number, admits by itself."""
    admitting: dict[int, bool] = {}
    for question, decision in zip(questions, decisions, strict=True):
        admitting[question.descriptor] = admitting.get(question.descriptor, True) and decision.allowed
    return admitting


def is_admitted(questions: Sequence[Question], admitting: dict[int, bool], elsewhere: Elsewhere = NOWHERE) -> bool:
    """Whether the request is."""
    if elsewhere.refused:
        return False
    quotas, refusing = elsewhere.quotas, elsewhere.quotas_refusing
    modes = {question.descriptor: question.mode for question in questions}
    for descriptor, mode in modes.items():
        if mode & Mode.QUOTA:
            quotas += 1
            refusing += not (admitting[descriptor] or mode & Mode.SHADOW)
        elif not (admitting[descriptor] or mode & Mode.SHADOW):
            return False
    return quotas == 0 or refusing < quotas
