"""Health, answered by the compiled handler: what is said of services, by a process that is alive."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2

import native
from tests.support.hot_port import need_hot_port

if not native.HOT_PORT:
    need_hot_port()

from native._health import HealthAnswers

SERVICES = ("", "waypost.api.v1.RateLimitService", "redis")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def ask(health: HealthAnswers, service: str) -> int | None:
    """The status that is answered; None: it goes up."""
    answered = health.answer(health_pb2.HealthCheckRequest(service=service).SerializeToString())
    return None if answered is None else health_pb2.HealthCheckResponse.FromString(answered[0]).status


def test_none_serves_before_it_is_said() -> None:
    health = HealthAnswers(SERVICES, seconds=3600)
    health.beat()
    assert [ask(health, service) for service in SERVICES] == [NOT_SERVING] * 3
    health.set("", True)
    health.set("redis", True)
    assert [ask(health, service) for service in SERVICES] == [SERVING, NOT_SERVING, SERVING]
    health.set("redis", False)
    assert [ask(health, service) for service in SERVICES] == [SERVING, NOT_SERVING, NOT_SERVING]


def test_none_serves_before_the_first_beat_or_long_after_the_last() -> None:
    health = HealthAnswers(SERVICES, seconds=3600)
    health.set("", True)
    assert ask(health, "") == NOT_SERVING
    health.beat()
    assert ask(health, "") == SERVING
    stopped = HealthAnswers(SERVICES, seconds=0)
    stopped.set("", True)
    stopped.beat()
    assert ask(stopped, "") == NOT_SERVING


def test_what_is_not_known_goes_up() -> None:
    health = HealthAnswers(SERVICES, seconds=3600)
    health.beat()
    assert ask(health, "redis2") is None
    assert ask(health, "redi") is None
    assert health.answer(b"\xff") is None
    with pytest.raises(KeyError):
        health.set("redis2", True)


def test_calls_without_time_or_of_recorded_traces_go_up() -> None:
    health = HealthAnswers(SERVICES, traced=True)
    trace = f"00-{'a' * 32}-{'b' * 16}-0"
    assert health.answer(b"", timeout_us=0) is None
    assert health.answer(b"", timeout_us=1) is not None
    assert health.answer(b"", [("traceparent", f"{trace}1")]) is None
    assert health.answer(b"", [("traceparent", f"{trace}0")]) is not None


def test_an_answer_has_the_calls_correlation_id() -> None:
    answered = HealthAnswers(SERVICES).answer(b"", [("x-request-id", "mine"), ("x-waypost-edge", "1")])
    assert answered is not None
    assert answered[1] == [("x-correlation-id", "mine")]
