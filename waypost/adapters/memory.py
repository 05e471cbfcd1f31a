"""Adapters that keep everything in this process's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from native import Table
from native.limits import Algorithm, Limit
from native.request import Question
from waypost.clock import SteadyClock
from waypost.model import Budget, LimitDecision, LimitEntry

# Far more than can be told apart in the short time that a ratelimiter is away; about 20 MB.
_CAPACITY = 50_000

_WINDOW_US = 60_000_000

WORKSPACE = "workspace"


class MemoryLimiter:
    """One token bucket for each set of descriptors: the stand-in for a ratelimiter that is away.

    `per_minute` hits come back in a minute, and as many may be spent at once; what costs more takes a full bucket, or
    it would never be admitted. `of_class` has other numbers for descriptors whose first value is this. Descriptors of a
    whole `workspace` are passed over: the numbers are those of one caller.
    `clock_us` must not go back, or buckets stay empty for as long; None: a `SteadyClock`.
    """

    RULE = "local"

    def __init__(
        self,
        per_minute: int,
        clock_us: Callable[[], int] | None = None,
        capacity: int = _CAPACITY,
        *,
        of_class: Mapping[str, int] | None = None,
    ) -> None:
        self._limit = _bucket(per_minute)
        self._of_class = {name: _bucket(number) for name, number in (of_class or {}).items()}
        self._table = Table(capacity)
        self._clock_us = clock_us or SteadyClock()

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        """Admits if every descriptor's bucket does, and charges them all then; a refusal charges none."""
        questions = [
            self._question(domain, entries, hits, index)
            for index, entries in enumerate(descriptors)
            if not any(entry.key == WORKSPACE for entry in entries)
        ]
        verdict = self._table.decide(questions, self._clock_us())
        if verdict.admitted:
            return LimitDecision(True)
        question, decision = next(one for one in zip(questions, verdict.decisions, strict=True) if not one[1].allowed)
        retry_after = (decision.retry_after_us or 0) / 1_000_000
        budget = Budget(question.limit.limit, _WINDOW_US / 1_000_000, decision.remaining, retry_after)
        return LimitDecision(False, self.RULE, retry_after, budget=budget)

    def _question(self, domain: str, entries: Sequence[LimitEntry], hits: int, index: int) -> Question:
        limit = self._of_class.get(entries[0].value, self._limit) if entries else self._limit
        values = tuple(text for entry in entries for text in (entry.key, entry.value))
        return Question((self.RULE, domain), values, limit, min(hits, limit.limit), index)


def _bucket(per_minute: int) -> Limit:
    return Limit(Algorithm.TOKEN_BUCKET, per_minute, _WINDOW_US)
