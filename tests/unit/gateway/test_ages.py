"""Times in people's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.ages import absolute, relative

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=59.9), "just now"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=1, seconds=59), "1 minute ago"),
        (timedelta(minutes=119), "119 minutes ago"),
        (timedelta(minutes=120), "2 hours ago"),
        (timedelta(hours=47, minutes=59), "47 hours ago"),
        (timedelta(hours=48), "2 days ago"),
        (timedelta(days=3, hours=23), "3 days ago"),
        (timedelta(days=59), "59 days ago"),
        (timedelta(days=60), "2 months ago"),
        (timedelta(days=729), "24 months ago"),
        (timedelta(days=730), "2 years ago"),
        (timedelta(days=400_000), "1,095 years ago"),
        (-timedelta(seconds=1), "in less than a minute"),
        (-timedelta(minutes=1), "in 1 minute"),
        (-timedelta(days=4), "in 4 days"),
        (-timedelta(days=2_900_000), "in 7,945 years"),
    ],
)
def test_how_long_ago(before: timedelta, told: str) -> None:
    assert relative(NOW - before, NOW) == told


def test_date_and_time_are_in_utc() -> None:
    assert absolute(NOW) == "1 June 2026, 12:00 UTC"
    assert absolute(datetime(2031, 12, 31, 23, 30, tzinfo=timezone(-timedelta(hours=2)))) == "1 January 2032, 01:30 UTC"
    assert absolute(datetime.max.replace(tzinfo=UTC)) == "31 December 9999, 23:59 UTC"
