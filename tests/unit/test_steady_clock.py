"""The clock that steps of the machine's own do not move."""

from __future__ import annotations

import time

from waypost.clock import SteadyClock


class Hand:
    """A clock in nanoseconds that tests set."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def test_begins_at_the_time_of_day_and_goes_with_the_monotonic_clock() -> None:
    wall, elapsed = Hand(1_700_000_000_000_000_999), Hand(5_000)
    clock = SteadyClock(wall, elapsed)
    assert clock() == 1_700_000_000_000_000
    elapsed.now_ns += 3_600_000_000_001
    assert clock() == 1_700_003_600_000_001


def test_steps_of_the_time_of_day_do_not_move_it() -> None:
    wall, elapsed = Hand(1_700_000_000_000_000_000), Hand(0)
    clock = SteadyClock(wall, elapsed)
    for step_ns in (-3_600_000_000_000, 7_200_000_000_000):
        wall.now_ns += step_ns
        elapsed.now_ns += 1000
    assert clock() == 1_700_000_000_000_002


def test_by_itself_it_tells_the_time_of_day() -> None:
    before_us = time.time_ns() // 1000
    clock = SteadyClock()
    assert -1000 <= clock() - before_us <= 10_000_000
    readings = [clock() for _ in range(1000)]
    assert readings == sorted(readings)
