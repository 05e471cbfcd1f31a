"""The clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from waypost.clock import ServerClock, SystemClock

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("clock", [SystemClock(), ServerClock()], ids=lambda clock: type(clock).__name__)
def test_the_time_is_now_and_has_its_zone(clock: SystemClock | ServerClock) -> None:
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.now().utcoffset() == timedelta(0)


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=3), timedelta(minutes=-7), timedelta(days=4000)])
def test_it_follows_the_server(ahead: timedelta) -> None:
    clock, now = ServerClock(), datetime.now(UTC)
    clock.observe(now + ahead, now, now)
    assert abs(clock.now() - datetime.now(UTC) - ahead) < SECOND


def test_the_way_there_and_back_is_halved() -> None:
    clock, now = ServerClock(), datetime.now(UTC)
    # Asked, answered 2 s later: the server read its clock about in the middle.
    clock.observe(now + timedelta(seconds=61), now, now + timedelta(seconds=2))
    assert abs(clock.now() - datetime.now(UTC) - timedelta(seconds=60)) < SECOND


def test_the_last_reading_counts() -> None:
    clock, now = ServerClock(), datetime.now(UTC)
    for hours in (5, -5, 0):
        clock.observe(now + timedelta(hours=hours), now, now)
    assert abs(clock.now() - datetime.now(UTC)) < SECOND
