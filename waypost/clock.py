"""The clocks that steps of the machine's own do not move."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class ServerClock:
    """The database's time, as it was last seen, carried on by a monotonic clock.

    Replicas then agree on the second in which a link expires, though their own clocks may not, and a step of the
    machine's clock moves nothing. Before the first reading it is this machine's time at the start, carried on alike.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen = datetime.now(UTC)
        self._seen_at = monotonic()

    def now(self) -> datetime:
        """The time, with its zone."""
        return self._seen + timedelta(seconds=self._monotonic() - self._seen_at)

    def observe(self, server: datetime, began: float, ended: float) -> None:
        """Takes a reading of the database's clock made between `began` and `ended` of the monotonic clock (seconds)."""
        self._seen = server
        self._seen_at = began + (ended - began) / 2


def _elapsed_ns() -> int:
    # Counts while the machine sleeps too, where the system has such a clock.
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """Microseconds since the epoch that never go back: the time of day at the start, carried on by a monotonic clock.

    A step of the machine's clock does not move it, so it may differ from the time of day by what was corrected since.
    """

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, elapsed_ns: Callable[[], int] = _elapsed_ns) -> None:
        self._elapsed_ns = elapsed_ns
        self._epoch_ns = wall_ns() - elapsed_ns()

    @property
    def epoch_ns(self) -> int:
        """When the monotonic clock began, in nanoseconds since the epoch; compiled code reads that clock itself."""
        return self._epoch_ns

    def __call__(self) -> int:
        """The time."""
        return (self._epoch_ns + self._elapsed_ns()) // 1000
