"""Circuit breaker: stops asking a dependency that does not answer, and looks again now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    """Closed: calls pass. Open: none does. Half open: one does, to look."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after `failures` failures in a row; after `retry_after` seconds lets one call through to look.

    Callers ask `allow()` before a call and report `success()` or `failure()` after it. Time is monotonic.
    """

    def __init__(
        self, failures: int = 5, retry_after: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._retry_after = retry_after
        self._monotonic = monotonic
        self._failures = 0
        self._look_at = 0.0
        self.state = BreakerState.CLOSED

    def allow(self) -> bool:
        """Whether a call may be made now; in half-open state only the first asker gets a yes."""
        if self.state is BreakerState.CLOSED:
            return True
        if self._monotonic() < self._look_at:
            return False
        # One look at a time: a look that is never reported (its caller was cancelled) is taken as lost after the wait.
        self.state = BreakerState.HALF_OPEN
        self._look_at = self._monotonic() + self._retry_after
        return True

    def success(self) -> None:
        """The dependency answered."""
        self._failures = 0
        self.state = BreakerState.CLOSED

    def failure(self) -> None:
        """It did not."""
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._limit:
            self.state = BreakerState.OPEN
            self._look_at = self._monotonic() + self._retry_after

    def trip(self) -> None:
        """It cannot be asked at all: opens at once."""
        self.state = BreakerState.OPEN
        self._look_at = self._monotonic() + self._retry_after
