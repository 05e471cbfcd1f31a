"""A running rate limiter's hot port: what answers there, that both ports count together, and that its heart beats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.ratelimiter.process import Limiter, limiter_running
from tests.support.hot_port import need_hot_port
from tests.support.waiting import until

need_hot_port()

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
HEALTH = "/grpc.health.v1.Health/Check"


def rules(limit: int) -> str:
    return f"domain: shop\ndescriptors: [{{key: address, rate_limit: {{unit: year, requests_per_unit: {limit}}}}}]\n"


@pytest.fixture
def limiter(tmp_path: Path) -> Iterator[Limiter]:
    (tmp_path / "shop.yaml").write_text(rules(2))
    with limiter_running(tmp_path, "hot", WAYPOST_RATELIMITER_LOG_EVERY="2") as limiter:
        yield limiter


def answered(limiter: Limiter, method: str) -> float:
    count = limiter.sample("hot_port_handler_seconds_count", rpc_method=method)
    assert count is not None
    return count


def test_both_ports_count_together_and_one_of_them_without_python(limiter: Limiter) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{limiter.control}") as channel:
        control = Limiter(limiter.process, {"control": limiter.control}, channel, limiter.http)
        codes = [port.ask("shop", {"address": "a"}).overall_code for port in (limiter, control, limiter, control)]
    assert codes == [OK, OK, OVER_LIMIT, OVER_LIMIT]
    assert answered(limiter, METHOD) == 2
    assert limiter.sample("hot_port_calls_up_total") == 0
    decisions = {
        decision: limiter.sample("ratelimit_decisions_total", rule="shop.address", decision=decision, mode="local")
        for decision in ("allowed", "refused")
    }
    assert decisions == {"allowed": 2, "refused": 2}


async def test_log_and_offenders_hear_of_what_was_answered_without_python(limiter: Limiter) -> None:
    for _ in range(4):
        limiter.ask("shop", {"address": "b"}, metadata=(("x-correlation-id", "mine"),))
    # The first of each two.
    for lines in (1, 2):
        line = limiter.process.wait_for("rpc", lines=lines)
        assert (line["rpc"], line["code"], line["correlation_id"]) == (METHOD, "OK", "mine")
    await until(lambda: limiter.http.get("/offenders").json()["offenders"] != [])
    assert limiter.http.get("/offenders").json()["offenders"] == [
        {"refused": "shop.address: address=b", "count": 2, "error": 0}
    ]


async def test_changed_rules_hold_there_too(limiter: Limiter, tmp_path: Path) -> None:
    assert limiter.ask("shop", {"address": "c"}).statuses[0].current_limit.requests_per_unit == 2
    (tmp_path / "shop.yaml").write_text(rules(7))
    await until(lambda: limiter.sample("ratelimit_rules_generation") == 2)
    assert limiter.ask("shop", {"address": "c"}).statuses[0].current_limit.requests_per_unit == 7
    assert limiter.sample("hot_port_calls_up_total") == 0


def test_health_is_answered_without_python_and_unknown_services_with_it(limiter: Limiter) -> None:
    with grpc.insecure_channel(limiter.hot) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "waypost.api.v1.RateLimitService", "envoy.service.ratelimit.v3.RateLimitService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        assert answered(limiter, HEALTH) == 3
        with pytest.raises(grpc.RpcError) as raised:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert answered(limiter, HEALTH) == 3
