"""`python -m ratelimiter` with a folder of rules and nothing else is a complete rate limit server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2

import native
from tests.integration.ratelimiter.process import Limiter, limiter_running
from tests.support.hot_port import PORTS
from tests.support.missing import program
from waypost.api.v1 import limit_override_service_pb2 as overrides_pb
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1.limit_override_service_pb2_grpc import LimitOverrideServiceStub

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT
METHOD = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

# As it would stand in a folder of the reference, but for the domain that is ours.
RULES = """
domain: shop
descriptors:
  - key: path
    value: /checkout
    rate_limit: {unit: day, requests_per_unit: 2}
  - key: address
    detailed_metric: true
    rate_limit: {unit: year, requests_per_unit: 3}
"""
MESH = "domain: waypost\ndescriptors: [{key: a, rate_limit: {unit: year, requests_per_unit: 2}}]"


@pytest.fixture(scope="module", params=PORTS)
def limiter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limiter]:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "shop.yaml").write_text(RULES)
    (folder / "waypost.yaml").write_text(MESH)
    with limiter_running(folder, request.param) as limiter:
        yield limiter


def test_envoys_question(limiter: Limiter) -> None:
    answers = [limiter.ask("shop", {"path": "/checkout"}, {"address": "192.0.2.7"}) for _ in range(3)]
    assert [answer.overall_code for answer in answers] == [OK, OK, OVER_LIMIT]
    assert [status.limit_remaining for status in answers[-1].statuses] == [0, 1]
    headers = {header.key: header.value for header in answers[-1].response_headers_to_add}
    assert headers["X-RateLimit-Remaining"] == "0"
    assert 0 < int(headers["Retry-After"]) <= 86_400
    with pytest.raises(grpc.RpcError) as raised:
        limiter.ask("", {"path": "/checkout"})
    assert raised.value.details() == "rate limit domain must not be empty"


def test_our_own_questions_need_no_credentials_inside(limiter: Limiter) -> None:
    entries = [pb.RateLimitEntry(key="address", value="192.0.2.8")]
    request = pb.CheckRequest(domain="shop", descriptors=[pb.RateLimitDescriptor(entries=entries)])
    assert limiter.api.Check(request, timeout=10).allowed
    batch = limiter.api.BatchCheck(pb.BatchCheckRequest(requests=[request] * 3), timeout=10)
    assert [answer.allowed for answer in batch.responses] == [True, True, False]
    explained = limiter.api.Explain(pb.ExplainRequest(domain="shop", descriptors=request.descriptors), timeout=10)
    assert (explained.allowed, explained.descriptors[0].rule) == (False, "shop.address")


def test_operators_methods_do(limiter: Limiter) -> None:
    entries = [pb.RateLimitEntry(key="address", value="192.0.2.8")]
    descriptors = [pb.RateLimitDescriptor(entries=entries)]
    with pytest.raises(grpc.RpcError) as raised:
        limiter.api.Reset(pb.ResetRequest(domain="shop", descriptors=descriptors), timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.RpcError) as raised:
        limiter.api.ListRules(pb.ListRulesRequest(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with grpc.insecure_channel(f"127.0.0.1:{limiter.control}") as channel:
        stub = LimitOverrideServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.ListOverrides(overrides_pb.ListOverridesRequest(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_what_came_through_the_edge_asks_nothing_without_credentials(limiter: Limiter) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        limiter.ask("shop", {"path": "/"}, metadata=(("x-waypost-edge", "1"),))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    entries = [pb.RateLimitEntry(key="a", value="x")]
    request = pb.CheckRequest(domain="waypost", descriptors=[pb.RateLimitDescriptor(entries=entries)])
    with pytest.raises(grpc.RpcError) as raised:
        limiter.api.Check(request, timeout=10, metadata=(("x-waypost-edge", "1"),))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_what_it_tells_operators(limiter: Limiter) -> None:
    limiter.ask("shop", {"address": "198.51.100.1"}, hits=4)
    limiter.ask("shop", {"address": "198.51.100.1"}, hits=4)
    assert limiter.sample(
        "ratelimit_decisions_total", rule="shop.address_198.51.100.1", decision="refused", mode="local"
    ) == pytest.approx(2)
    assert limiter.sample("ratelimit_compiled") == native.COMPILED
    assert limiter.sample("ratelimit_rules_generation") == 1
    assert (limiter.sample("ratelimit_table_capacity") or 0) >= 200_000
    page = limiter.http.get("/offenders").json()
    assert {"refused": "shop.address: address=198.51.100.1", "count": 2, "error": 0} in page["offenders"]
    assert limiter.http.get("/ready").json()["status"] == "ok"
    strict = limiter.process.wait_for("strict limits are local")
    assert "WAYPOST_REDIS_URL is not set" in strict["detail"]
    core = [line["level"] for line in limiter.process.log if line["event"] in ("compiled core", "plain core")]
    assert core == ["info" if native.COMPILED else "warning"]


def grpcurl(limiter: Limiter, *arguments: str) -> tuple[int, str]:
    *options, what = arguments
    command = [
        str(program("grpcurl")),
        "-plaintext",
        "-max-time",
        "10",
        *options,
        f"127.0.0.1:{limiter.control}",
        *what.split(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_grpcurl_lists_describes_and_calls_envoys_method(limiter: Limiter) -> None:
    code, said = grpcurl(limiter, "list")
    assert (code, "envoy.service.ratelimit.v3.RateLimitService" in said.split()) == (0, True)
    code, said = grpcurl(limiter, "describe envoy.service.ratelimit.v3.RateLimitRequest")
    assert (code, ".envoy.extensions.common.ratelimit.v3.RateLimitDescriptor descriptors = 2" in said) == (0, True)
    body = {"domain": "shop", "descriptors": [{"entries": [{"key": "address", "value": "203.0.113.9"}]}]}
    code, said = grpcurl(limiter, "-d", json.dumps(body), METHOD)
    answer = json.loads(said)
    assert (code, answer["overall_code"], answer["statuses"][0]["limit_remaining"]) == (0, "OK", 2)
    assert answer["statuses"][0]["current_limit"] == {"requests_per_unit": 3, "unit": "YEAR"}


def test_in_shadow_mode_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(RULES)
    settings = {"WAYPOST_LIMITS_SHADOW_MODE": "true", "WAYPOST_RATELIMITER_RESPONSE_HEADERS": "false"}
    with limiter_running(tmp_path, **settings) as limiter:
        answer = limiter.ask("shop", {"path": "/checkout"}, hits=5)
        assert (answer.overall_code, answer.statuses[0].code, len(answer.response_headers_to_add)) == (
            OK,
            OVER_LIMIT,
            0,
        )
        assert any(line["event"] == "shadow mode" for line in limiter.process.log)
