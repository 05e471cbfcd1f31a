"""Exponential backoff with full jitter."""

from __future__ import annotations

import random

import pytest

from waypost.backoff import Backoff


@pytest.mark.parametrize("attempt", [0, 1, 2, 5, 31, 32, 33, 1000, 10**9])
def test_delays_stay_within_their_bounds(attempt: int) -> None:
    backoff = Backoff(base=0.1, cap=2.0, floor=0.05)
    bound = max(0.05, min(2.0, 0.1 * 2 ** min(attempt, 32)))
    delays = [backoff.delay(attempt) for _ in range(200)]
    assert all(0.05 <= delay <= bound for delay in delays)


def test_bounds_double_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    backoff = Backoff(base=0.1, cap=1.0)
    assert [backoff.delay(attempt) for attempt in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_delays_are_spread_over_the_whole_range() -> None:
    backoff = Backoff(base=1.0, cap=1.0)
    delays = [backoff.delay(3) for _ in range(1000)]
    assert min(delays) < 0.1
    assert max(delays) > 0.9
    assert 0.4 < sum(delays) / len(delays) < 0.6


def test_the_floor_holds_even_above_the_bound() -> None:
    assert Backoff(base=0.1, cap=0.2, floor=1.0).delay(0) == 1.0
