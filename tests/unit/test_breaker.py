"""The circuit breaker, in a time that the test makes."""

from __future__ import annotations

from waypost.breaker import Breaker, BreakerState


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def opened(failures: int = 3, retry_after: float = 1.0) -> tuple[Breaker, Clock]:
    clock = Clock()
    breaker = Breaker(failures, retry_after, clock)
    for _ in range(failures):
        assert breaker.allow()
        breaker.failure()
    assert breaker.state is BreakerState.OPEN
    return breaker, clock


def test_closed_it_lets_all_calls_pass() -> None:
    breaker = Breaker()
    assert all(breaker.allow() for _ in range(100))
    assert breaker.state is BreakerState.CLOSED


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(failures=3, monotonic=Clock())
    states = []
    for _ in range(3):
        breaker.failure()
        states.append(breaker.state)
    assert states == [BreakerState.CLOSED, BreakerState.CLOSED, BreakerState.OPEN]
    assert not breaker.allow()


def test_a_success_in_between_begins_the_count_anew() -> None:
    breaker = Breaker(failures=2, monotonic=Clock())
    for _ in range(10):
        breaker.failure()
        breaker.success()
    assert breaker.state is BreakerState.CLOSED


def test_open_it_lets_nothing_pass_until_the_wait_is_over() -> None:
    breaker, clock = opened(retry_after=1.0)
    clock.seconds += 0.999
    assert not breaker.allow()
    clock.seconds += 0.001
    assert breaker.allow()
    assert breaker.state is BreakerState.HALF_OPEN


def test_half_open_only_one_call_looks() -> None:
    breaker, clock = opened()
    clock.seconds += 1
    assert [breaker.allow() for _ in range(5)] == [True, False, False, False, False]


def test_a_good_look_closes_it() -> None:
    breaker, clock = opened()
    clock.seconds += 1
    assert breaker.allow()
    breaker.success()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allow()
    breaker.failure()
    assert breaker.state is BreakerState.CLOSED


def test_a_bad_look_opens_it_for_another_wait() -> None:
    breaker, clock = opened()
    for _ in range(3):
        clock.seconds += 1
        assert breaker.allow()
        breaker.failure()
        assert breaker.state is BreakerState.OPEN
        assert not breaker.allow()


def test_a_look_that_is_never_reported_does_not_keep_it_shut_for_ever() -> None:
    breaker, clock = opened()
    clock.seconds += 1
    assert breaker.allow()
    clock.seconds += 0.5
    assert not breaker.allow()
    clock.seconds += 0.5
    assert breaker.allow()


def test_a_late_failure_of_an_earlier_call_does_not_count_twice() -> None:
    breaker, clock = opened(retry_after=1.0)
    clock.seconds += 1
    assert breaker.allow()
    breaker.success()
    # A call that began before it opened ends only now: one failure, of three.
    breaker.failure()
    assert breaker.state is BreakerState.CLOSED


def test_tripped_it_opens_at_once() -> None:
    clock = Clock()
    breaker = Breaker(failures=3, retry_after=1.0, monotonic=clock)
    breaker.trip()
    assert not breaker.allow()
    clock.seconds += 1
    assert breaker.allow()
    breaker.success()
    assert breaker.state is BreakerState.CLOSED
