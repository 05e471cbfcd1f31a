"""Bounds the guesses at keys: each address may be wrong so many times a minute before it is not even listened to."""

from __future__ import annotations

from collections.abc import Callable

from native.limits import Algorithm, Limit, look, take
from native.table import Table
from waypost.clock import SteadyClock
from waypost.errors import RateLimited

_CAPACITY = 20_000
_RULE = ("failed_credentials",)


class Failures:
    """A token bucket of wrong credentials for each address, in this process.

    It guards the store, not the keys, whose 256 bits nobody guesses. `per_minute` wrong ones are admitted at once.
    """

    def __init__(self, per_minute: int, clock_us: Callable[[], int] | None = None) -> None:
        self._limit = Limit(Algorithm.TOKEN_BUCKET, per_minute, 60_000_000)
        self._table = Table(_CAPACITY)
        self._clock_us = clock_us or SteadyClock()

    def check(self, address: str) -> None:
        """Raises `RateLimited` if the address has been wrong too often to be listened to now."""
        now_us = self._clock_us()
        state = self._table.find(self._table.key(_RULE, [address]), now_us)
        decision = look(self._limit, state, 1, now_us)
        if not decision.allowed:
            raise RateLimited(_RULE[0], (decision.retry_after_us or 0) / 1_000_000)

    def count(self, address: str) -> None:
        """The address was wrong once more."""
        now_us = self._clock_us()
        key = self._table.key(_RULE, [address])
        take(self._limit, self._table.keep(key, self._limit, now_us), 1, now_us)
