"""Bounds what each address may get wrong: so many in a minute, before it is not even listened to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from native import Table
from native.limits import Algorithm, Decision, Limit
from waypost.clock import SteadyClock
from waypost.errors import RateLimited, Unauthenticated
from waypost.model import Budget

CAPACITY = 20_000
"""Addresses that are told apart; for what becomes of more see `native.table`."""

FAILED_CREDENTIALS = "failed_credentials"

_WINDOW_US = 60_000_000


class Failures:
    """A token bucket of failures for each address, in this process: by default of wrong credentials.

    It guards the store and the processor, not the keys, whose 256 bits nobody guesses. `per_minute` failures are
    listened to at once. `rule` names the limit to those who are refused.
    """

    def __init__(
        self, per_minute: int, clock_us: Callable[[], int] | None = None, *, rule: str = FAILED_CREDENTIALS
    ) -> None:
        self._limit = Limit(Algorithm.TOKEN_BUCKET, per_minute, _WINDOW_US)
        self._rule = rule
        self._failures = Table(CAPACITY).limiter((rule,), self._limit)
        self._clock_us = clock_us or SteadyClock()
        self._pending: Counter[str] = Counter()

    @contextmanager
    def attempt(self, address: str) -> Iterator[None]:
        """Around a look at credentials that nobody knows yet. Raises `RateLimited` if the address may not try now.

        Attempts count as wrong for good if they end in `Unauthenticated` or their caller goes away: else none that does
        not wait for its answer would be bounded.
        """
        self.begin(address)
        failed = False
        try:
            yield
        except (Unauthenticated, asyncio.CancelledError):
            failed = True
            raise
        finally:
            self.end(address, failed=failed)

    def begin(self, address: str) -> None:
        """An attempt begins, which counts as a failure until its `end`: else many at once would not be bounded.

        Raises `RateLimited` if the address may not try now.
        """
        self.check(address)
        self._pending[address] += 1

    def end(self, address: str, *, failed: bool) -> None:
        """An attempt that has begun is over."""
        self._pending[address] -= 1
        if not self._pending[address]:
            del self._pending[address]
        if failed:
            self.count(address)

    def check(self, address: str) -> None:
        """Raises `RateLimited` if the address has failed too often to be listened to now."""
        decision = self._failures.look(address, self._clock_us(), 1 + self._pending[address])
        if not decision.allowed:
            raise RateLimited(self._rule, _wait(decision), self._budget(decision))

    def count(self, address: str) -> None:
        """The address has failed once more."""
        self._failures.take(address, self._clock_us())

    def _budget(self, decision: Decision) -> Budget:
        return Budget(self._limit.limit, _WINDOW_US / 1_000_000, decision.remaining, _wait(decision))


def _wait(decision: Decision) -> float:
    # None only with more attempts under way than may ever fail at once: it may be soon.
    return (decision.retry_after_us or 1_000_000) / 1_000_000
