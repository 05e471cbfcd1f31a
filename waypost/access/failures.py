"""Bounds the guesses at keys: each address may be wrong so many times a minute before it is not even listened to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from native.limits import Algorithm, Limit, look, take
from native.table import Table
from waypost.clock import SteadyClock
from waypost.errors import RateLimited, Unauthenticated

_CAPACITY = 20_000
_RULE = ("failed_credentials",)


class Failures:
    """A token bucket of wrong credentials for each address, in this process.

    It guards the store and the processor, not the keys, whose 256 bits nobody guesses. `per_minute` wrong ones are
    listened to at once.
    """

    def __init__(self, per_minute: int, clock_us: Callable[[], int] | None = None) -> None:
        self._limit = Limit(Algorithm.TOKEN_BUCKET, per_minute, 60_000_000)
        self._table = Table(_CAPACITY)
        self._clock_us = clock_us or SteadyClock()
        self._pending: Counter[str] = Counter()

    @contextmanager
    def attempt(self, address: str) -> Iterator[None]:
        """Around a look at credentials that nobody knows yet. Raises `RateLimited` if the address may not try now.

        Attempts under way count as wrong until they have ended, and for good if they end in `Unauthenticated` or their
        caller goes away: else many at once, or none that waits for its answer, would not be bounded.
        """
        self.check(address)
        self._pending[address] += 1
        try:
            yield
        except (Unauthenticated, asyncio.CancelledError):
            self.count(address)
            raise
        finally:
            self._pending[address] -= 1
            if not self._pending[address]:
                del self._pending[address]

    def check(self, address: str) -> None:
        """Raises `RateLimited` if the address has been wrong too often to be listened to now."""
        now_us = self._clock_us()
        state = self._table.find(self._table.key(_RULE, [address]), now_us)
        decision = look(self._limit, state, 1 + self._pending[address], now_us)
        if not decision.allowed:
            # Never None for one; with others under way it may be soon.
            raise RateLimited(_RULE[0], (decision.retry_after_us or 1_000_000) / 1_000_000)

    def count(self, address: str) -> None:
        """The address was wrong once more."""
        now_us = self._clock_us()
        key = self._table.key(_RULE, [address])
        take(self._limit, self._table.keep(key, self._limit, now_us), 1, now_us)
