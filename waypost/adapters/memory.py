"""Adapters that keep everything in this process's memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from native.limits import Algorithm, Limit, look, spend
from native.table import Table
from waypost.model import LimitDecision, LimitEntry

# Far more than can be told apart in the short time that a ratelimiter is away; about 20 MB.
_CAPACITY = 50_000


class MemoryLimiter:
    """One token bucket for each set of descriptors: the stand-in for a ratelimiter that is away.

    `per_minute` hits come back in a minute, and as many may be spent at once. `clock_us` must not jump, or buckets stay
    empty for as long: nobody else reads these counters, so it need not be the time of day.
    """

    RULE = "local"

    def __init__(
        self,
        per_minute: int,
        clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
        capacity: int = _CAPACITY,
    ) -> None:
        self._limit = Limit(Algorithm.TOKEN_BUCKET, per_minute, 60_000_000)
        self._table = Table(capacity)
        self._clock_us = clock_us

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        """Admits if every descriptor's bucket does, and charges them all then; a refusal charges none."""
        now_us = self._clock_us()
        keys = [
            self._table.key((self.RULE, domain), [text for e in entries for text in (e.key, e.value)])
            for entries in descriptors
        ]
        for key in keys:
            decision = look(self._limit, self._table.find(key, now_us), hits, now_us)
            if not decision.allowed:
                # No wait helps a cost that is larger than the bucket; a minute is as good an answer as any.
                wait_us = 60_000_000 if decision.retry_after_us is None else decision.retry_after_us
                return LimitDecision(False, self.RULE, wait_us / 1_000_000)
        for key in keys:
            spend(self._limit, self._table.keep(key, self._limit, now_us), hits, now_us)
        return LimitDecision(True)
