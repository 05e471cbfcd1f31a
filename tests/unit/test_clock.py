"""The clock that follows the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from waypost.clock import ServerClock

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Monotonic:
    """A monotonic clock that goes when it is told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_before_the_first_reading_it_is_this_machines_time() -> None:
    before = datetime.now(UTC)
    clock = ServerClock()
    assert before <= clock.now() <= datetime.now(UTC) + timedelta(milliseconds=50)
    assert clock.now().utcoffset() == timedelta(0)


def test_it_carries_the_servers_time_on_and_heeds_no_other_clock() -> None:
    monotonic = Monotonic()
    clock = ServerClock(monotonic)
    clock.observe(NOON, 1000.0, 1000.0)
    assert clock.now() == NOON
    # The machine's own clock shows today; it has no say, whatever it is set to.
    monotonic.seconds += 3600
    assert clock.now() == NOON + timedelta(hours=1)


def test_the_way_there_and_back_is_halved() -> None:
    monotonic = Monotonic()
    clock = ServerClock(monotonic)
    # Asked, answered 2 s later: the server read its clock about in the middle.
    clock.observe(NOON, 1000.0, 1002.0)
    monotonic.seconds = 1002.0
    assert clock.now() == NOON + timedelta(seconds=1)


def test_the_last_reading_counts() -> None:
    clock = ServerClock(Monotonic())
    for hours in (5, -5, 0):
        clock.observe(NOON + timedelta(hours=hours), 1000.0, 1000.0)
    assert clock.now() == NOON
