"""Use cases of the limiter: may this request be served now?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from native import Table
from native.limits import Decision
from native.request import NOWHERE, Elsewhere, Mode, Question, Verdict, admits, is_admitted
from ratelimiter.asking import Asked, NoOverrides, Overrides, ask, match_all
from ratelimiter.requests import LimitRequest, validate
from ratelimiter.results import CheckResult, result
from ratelimiter.rulebook import RuleBook
from ratelimiter.ruletree import OnStoreFailure
from waypost.errors import StoreUnavailable
from waypost.ports import CounterStore

DENIED_RETRY_US = 1_000_000
"""What a limit that denies without its store tells callers to wait."""


class Checker:
    """Decides on requests by the rules in `book`: local limits in `table`, strict ones in `store` (None: in `table` too).

    `clock_us` gives microseconds since the epoch; the store has its own time. `shadow_mode`: nothing is refused.
    """

    def __init__(
        self,
        book: RuleBook,
        table: Table,
        clock_us: Callable[[], int],
        store: CounterStore | None = None,
        overrides: Overrides | None = None,
        *,
        shadow_mode: bool = False,
    ) -> None:
        self._book = book
        self._table = table
        self._clock_us = clock_us
        self._store = store
        self._overrides = overrides or NoOverrides()
        self._shadow_mode = shadow_mode

    async def check(self, request: LimitRequest) -> CheckResult:
        """Counts a request and says whether it is within its limits. Raises `InvalidFields`.

        One request is one decision: `native.request` says what it is, and what it charges.
        """
        validate(request)
        matches = match_all(self._book.rules, self._overrides, request)
        asked = ask(matches, request, shared=self._store is not None, shadow_mode=self._shadow_mode)
        strict = [one.question for one in asked if one.strict]
        if not strict:
            verdict = self._table.decide([one.question for one in asked], self._clock_us())
            return result(matches, asked, verdict.decisions, verdict.admitted, degraded=False)

        local = [one.question for one in asked if not one.strict]
        # Charged before the store is asked, so that nobody else is admitted on the same; given back if that refuses.
        quotas = any(question.mode & Mode.QUOTA for question in strict)
        here = self._table.decide(local, self._clock_us(), Elsewhere(quotas=int(quotas)))
        degraded = False
        try:
            assert self._store is not None  # noqa: S101 - else nothing is strict
            there = await self._store.decide(request.domain, strict, elsewhere(local, here))
        except StoreUnavailable:
            degraded = True
            there = self._without_store([one for one in asked if one.strict], elsewhere(local, here))
        if here.admitted and not there.admitted:
            here = self._taken_back(local, here)
        of_local, of_strict = iter(here.decisions), iter(there.decisions)
        decisions = [next(of_strict if one.strict else of_local) for one in asked]
        return result(matches, asked, decisions, there.admitted, degraded)

    def _taken_back(self, questions: Sequence[Question], verdict: Verdict) -> Verdict:
        """Undoes what an admitted request was charged, after another store refused it."""
        admitting = admits(questions, verdict.decisions)
        charged = [
            question._replace(hits=-question.hits)
            for question in questions
            if admitting[question.descriptor] and not question.mode & (Mode.REFERENCE | Mode.COUNT_REJECTED)
        ]
        now_us = self._clock_us()
        self._table.take(charged, now_us)
        after = self._table.look(questions, now_us)
        decisions = (new._replace(allowed=old.allowed) for new, old in zip(after, verdict.decisions, strict=True))
        return Verdict(False, tuple(decisions))

    def _without_store(self, strict: Sequence[Asked], others: Elsewhere) -> Verdict:
        """What becomes of strict limits whose store does not answer: each rule says."""
        counted = [one.question for one in strict if one.limit.on_store_failure is OnStoreFailure.LOCAL]
        fixed = [
            (one.question, _fixed(one)) for one in strict if one.limit.on_store_failure is not OnStoreFailure.LOCAL
        ]
        fixed_verdict = Verdict(True, tuple(decision for _, decision in fixed))
        told = elsewhere([question for question, _ in fixed], fixed_verdict, others)
        verdict = self._table.decide(counted, self._clock_us(), told)
        of_fixed, of_counted = iter(fixed_verdict.decisions), iter(verdict.decisions)
        decisions = tuple(
            next(of_counted if one.limit.on_store_failure is OnStoreFailure.LOCAL else of_fixed) for one in strict
        )
        return Verdict(verdict.admitted, decisions)


def elsewhere(questions: Sequence[Question], verdict: Verdict, others: Elsewhere = NOWHERE) -> Elsewhere:
    """What the next store is told of these questions, beside what `others` say."""
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


def _fixed(asked: Asked) -> Decision:
    limit = asked.limit.limit
    if asked.limit.on_store_failure is OnStoreFailure.ALLOW:
        return Decision(True, limit.capacity, 0, 0)
    return Decision(False, 0, DENIED_RETRY_US, DENIED_RETRY_US)
