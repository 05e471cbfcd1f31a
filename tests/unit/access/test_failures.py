"""Wrong credentials are bounded by address."""

from __future__ import annotations

import asyncio

import pytest

from waypost.access.failures import Failures
from waypost.errors import DependencyUnavailable, RateLimited, Unauthenticated
from waypost.model import Budget


class Time:
    """Microseconds that stand still."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now


def admitted(failures: Failures, address: str, most: int = 1000) -> int:
    """How often the address may be wrong from now on."""
    for count in range(most):
        try:
            failures.check(address)
        except RateLimited:
            return count
        failures.count(address)
    return most


def test_an_address_may_be_wrong_so_often() -> None:
    failures = Failures(5, Time())
    assert admitted(failures, "192.0.2.1") == 5
    assert admitted(failures, "192.0.2.1") == 0


def test_each_address_has_its_own() -> None:
    failures = Failures(5, Time())
    assert admitted(failures, "192.0.2.1") == 5
    assert admitted(failures, "192.0.2.2") == 5


def test_looking_costs_nothing() -> None:
    failures = Failures(2, Time())
    for _ in range(100):
        failures.check("192.0.2.1")
    assert admitted(failures, "192.0.2.1") == 2


def test_it_comes_back_evenly_and_the_refusal_says_when() -> None:
    time = Time()
    failures = Failures(60, time)
    assert admitted(failures, "192.0.2.1") == 60
    with pytest.raises(RateLimited) as caught:
        failures.check("192.0.2.1")
    assert caught.value.rule == "failed_credentials"
    assert caught.value.budget == Budget(60, 60.0, 0, 1.0)
    assert caught.value.retry_after == pytest.approx(1.0, abs=0.01)
    time.now += 1_000_000
    assert admitted(failures, "192.0.2.1") == 1
    time.now += 60_000_000
    assert admitted(failures, "192.0.2.1") == 60


def test_another_kind_of_failure_has_its_own_name() -> None:
    failures = Failures(1, Time(), rule="unknown_codes")
    failures.begin("192.0.2.1")
    with pytest.raises(RateLimited) as caught:
        failures.begin("192.0.2.1")
    assert caught.value.rule == "unknown_codes"
    failures.end("192.0.2.1", failed=False)
    failures.begin("192.0.2.1")
    failures.end("192.0.2.1", failed=True)
    with pytest.raises(RateLimited):
        failures.begin("192.0.2.1")


def test_what_is_wrong_beyond_the_bound_is_not_counted_against_the_future() -> None:
    time = Time()
    failures = Failures(60, time)
    for _ in range(1000):
        failures.count("192.0.2.1")
    time.now += 1_000_000
    assert admitted(failures, "192.0.2.1") == 1


def test_an_attempt_under_way_counts_as_wrong_until_it_has_ended() -> None:
    failures = Failures(3, Time())
    with failures.attempt("192.0.2.1"), failures.attempt("192.0.2.1"), failures.attempt("192.0.2.1"):
        with pytest.raises(RateLimited):
            failures.check("192.0.2.1")
        failures.check("192.0.2.2")
    assert admitted(failures, "192.0.2.1") == 3, "none of them was wrong"


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (Unauthenticated("no"), True),
        (asyncio.CancelledError(), True),
        (DependencyUnavailable("postgres"), False),
        (RateLimited("other", 1.0), False),
    ],
)
def test_an_attempt_counts_for_good_if_it_was_wrong_or_nobody_waited_for_it(error: BaseException, counts: bool) -> None:
    failures = Failures(3, Time())
    with pytest.raises(type(error)), failures.attempt("192.0.2.1"):
        raise error
    assert admitted(failures, "192.0.2.1") == (2 if counts else 3)
