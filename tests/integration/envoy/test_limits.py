"""The guard against floods: what Envoy asks the rate limiter, what it answers those who are refused, and what it does
when nobody answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.integration.envoy.test_routes import BINDINGS, ENVOYS_OWN, INSIDE, METHODS, address, body
from tests.integration.envoy.upstreams import Context, control_port
from tests.support import contract
from tests.support.contract import Binding
from tests.support.ports import free_port
from waypost.access.policies import POLICIES, LimitClass
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.supervisor.envoy import EnvoyConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")

REASON = "ERROR_REASON_RATE_LIMITED"
LIMIT = "masked_remote_address"
HEADERS = {
    "retry-after": "7",
    "x-ratelimit-limit": "30, 30;w=60",
    "x-ratelimit-remaining": "0",
    "x-ratelimit-reset": "7",
    "ratelimit-policy": '"waypost.reads";q=30;w=60',
    "ratelimit": '"waypost.reads";r=0;t=7',
}
"""What a rate limiter says beside its refusal."""


def refuse(mesh: Mesh, headers: dict[str, str] = HEADERS) -> None:
    """From now on the rate limiter refuses everything, with these headers."""

    async def refused(_: RateLimitRequest, __: Context) -> RateLimitResponse:
        return RateLimitResponse(overall_code=RateLimitResponse.OVER_LIMIT, response_headers_to_add=pairs(headers))

    mesh.guard.answers["ShouldRateLimit"] = refused


def pairs(headers: dict[str, str]) -> list[HeaderValue]:
    return [HeaderValue(key=name, value=value) for name, value in headers.items()]


def asked(mesh: Mesh) -> list[tuple[str, list[list[tuple[str, str]]]]]:
    """What Envoy asked: domain and descriptors of each question."""
    return [
        (call.request.domain, [[(e.key, e.value) for e in d.entries] for d in call.request.descriptors])  # type: ignore[attr-defined]
        for call in mesh.guard.calls
    ]


def wanted(method: MethodDescriptor) -> list[tuple[str, list[list[tuple[str, str]]]]]:
    """The question that belongs to a method, by the table of policies."""
    limit = POLICIES[contract.full_name(method)].limit
    if limit is LimitClass.NONE:
        return []
    return [("waypost", [[("route_class", limit.value), (LIMIT, "127.0.0.1/32")]])]


def check_refusal(answer: dict[str, Any], retry_seconds: int = 7) -> None:
    """That a Status says who is over the limit, and until when."""
    _, retry, quota = answer["details"]
    assert answer["details"][0]["metadata"] == {"limit": LIMIT}
    delay = json_format.ParseDict(
        {name: value for name, value in retry.items() if name != "@type"}, error_details_pb2.RetryInfo()
    )
    assert delay.retry_delay.seconds == retry_seconds
    assert quota["violations"] == [{"subject": LIMIT, "description": "over the limit"}]


@pytest.mark.parametrize("binding", BINDINGS, ids=str)
async def test_each_json_call_is_asked_about_once_by_its_class_and_address(mesh: Mesh, binding: Binding) -> None:
    forged = {"x-forwarded-for": "192.0.2.1", "x-envoy-external-address": "192.0.2.1"}
    async with mesh.edge.client() as client:
        response = await client.request(binding.verb, address(binding), content=body(binding), headers=forged)
    assert response.status_code == 200, response.text
    assert asked(mesh) == wanted(binding.method)


@pytest.mark.parametrize("method", METHODS, ids=contract.full_name)
async def test_each_grpc_call_is_asked_about_once_by_its_class_and_address(
    mesh: Mesh, method: MethodDescriptor
) -> None:
    async with mesh.edge.channel() as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(contract.full_name(method))
        if method.containing_service.name in INSIDE:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(b"")
            assert asked(mesh) == []
            return
        await ask(b"", metadata=(("x-forwarded-for", "192.0.2.1"),))
    assert asked(mesh) == wanted(method)


async def test_a_question_is_the_meshes_own(mesh: Mesh) -> None:
    """The rate limiter asks no credentials of those who come past the edge, and takes nobody's word for who calls."""
    async with mesh.edge.client() as client:
        await client.get("/api/v1/urls/abc", headers={"x-api-key": "wp_abc.def", "x-waypost-edge": "0"})
    (call,) = mesh.guard.calls
    names = {name for name, _ in call.pairs}
    # How long Envoy waits is all there is: the rate limiter need not work on what nobody waits for any more.
    assert {name for name in names if name.startswith(("x-", "authorization", "cookie"))} == {
        "x-envoy-expected-rq-timeout-ms"
    }


@pytest.mark.parametrize("path", ["/abc", "/abc+", "/", "/healthz", "/readyz", "/docs", "/openapi.json", "/metrics"])
async def test_redirects_pages_and_health_are_never_asked_about(mesh: Mesh, path: str) -> None:
    refuse(mesh)
    async with mesh.edge.client() as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200
    assert mesh.guard.calls == []


async def test_what_is_routed_nowhere_is_not_asked_about(mesh: Mesh) -> None:
    refuse(mesh)
    async with mesh.edge.client() as client:
        status.check_json(await client.get("/api/v1/nothing"), 404, 5, "ERROR_REASON_ROUTE_NOT_FOUND")
    assert mesh.guard.calls == []


async def test_nobody_asks_by_envoys_own_method_from_outside(mesh: Mesh) -> None:
    async with mesh.edge.channel() as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(ENVOYS_OWN)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert mesh.guard.calls == []


@pytest.mark.parametrize("http2", [False, True])
async def test_a_refused_json_call_is_told_in_full(mesh: Mesh, http2: bool) -> None:
    refuse(mesh)
    problems = {"accept": "application/problem+json"}
    async with mesh.edge.client(http2=http2) as client:
        for verb, path in (("GET", "/api/v1/urls/abc"), ("POST", "/api/v1/shorten"), ("POST", "/api/v1/shorten:batch")):
            content = b"{}" if verb == "POST" else b""
            response = await client.request(verb, path, content=content)
            check_refusal(status.check_json(response, 429, 8, REASON))
            check_headers(response)
            response = await client.request(verb, path, content=content, headers=problems)
            check_refusal(status.check_problem(response, 429, 8, REASON))
            check_headers(response)
    assert mesh.links.calls == []


def check_headers(response: httpx.Response) -> None:
    """That each of the rate limiter's headers is there once, and the others that every answer has."""
    for name, value in HEADERS.items():
        assert response.headers.get_list(name) == [value]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-correlation-id"]
    assert "x-envoy-ratelimited" not in response.headers


async def test_a_refused_grpc_call_is_told_in_full(mesh: Mesh) -> None:
    refuse(mesh)
    async with mesh.edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await links_grpc.LinkServiceStub(channel).ResolveLink(links_pb.ResolveLinkRequest(short_code="abc"))
    error = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    found, info = status.from_error(error)
    assert (info.reason, info.metadata["limit"], found.message) == (REASON, LIMIT, error.details())
    quota = error_details_pb2.QuotaFailure()
    assert found.details[1].Unpack(quota)
    assert quota.violations[0].subject == LIMIT
    metadata = dict(error.trailing_metadata() or ()) | dict(error.initial_metadata() or ())
    assert {name: metadata[name] for name in HEADERS} == HEADERS
    assert mesh.links.calls == []


async def test_a_refusal_without_a_time_is_a_valid_status_all_the_same(mesh: Mesh) -> None:
    """A limit of nothing: no wait helps, and the rate limiter names no time to try again."""
    refuse(mesh, {"x-ratelimit-limit": "0", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "60"})
    async with mesh.edge.client() as client:
        response = await client.get("/api/v1/urls/abc")
    check_refusal(status.check_json(response, 429, 8, REASON), 60)
    assert "retry-after" not in response.headers


async def test_what_a_service_says_of_its_callers_limit_stands_before_what_is_said_of_the_address(mesh: Mesh) -> None:
    of_service = {"x-ratelimit-limit": "5, 5;w=3600", "ratelimit": '"keys";r=0;t=9', "retry-after": "9"}

    async def admitted(_: RateLimitRequest, __: Context) -> RateLimitResponse:
        others = {name: value for name, value in HEADERS.items() if name != "retry-after"}
        return RateLimitResponse(overall_code=RateLimitResponse.OK, response_headers_to_add=pairs(others))

    async def over(_: Any, context: Context) -> Any:
        context.set_trailing_metadata(tuple(of_service.items()))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "over the limit")

    mesh.guard.answers["ShouldRateLimit"] = admitted
    mesh.links.answers["GetLink"] = over
    expected = HEADERS | of_service
    async with mesh.edge.client() as client:
        response = await client.get("/api/v1/urls/abc")
    assert response.status_code == 429
    assert {name: response.headers.get_list(name) for name in expected} == {k: [v] for k, v in expected.items()}
    async with mesh.edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await links_grpc.LinkServiceStub(channel).GetLink(links_pb.GetLinkRequest(short_code="abc"))
    metadata = [*(caught.value.trailing_metadata() or ()), *(caught.value.initial_metadata() or ())]
    assert {name: [value for key, value in metadata if key == name] for name in expected} == {
        name: [value] for name, value in expected.items()
    }


async def test_an_overloaded_service_is_not_taken_for_a_limit(mesh: Mesh) -> None:
    async def full(_: Any, context: Context) -> Any:
        await status.abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, status.info("ERROR_REASON_OVERLOADED"))

    mesh.links.answers["GetLink"] = full
    async with mesh.edge.client() as client:
        status.check_json(await client.get("/api/v1/urls/abc"), 429, 8, "ERROR_REASON_OVERLOADED")


async def test_a_limiter_that_fails_refuses_nobody(mesh: Mesh) -> None:
    async def broken(_: RateLimitRequest, context: Context) -> RateLimitResponse:
        await context.abort(grpc.StatusCode.INTERNAL, "broken")
        raise AssertionError

    mesh.guard.answers["ShouldRateLimit"] = broken
    async with mesh.edge.client() as client:
        assert (await client.get("/api/v1/urls/abc")).status_code == 200
    assert len(mesh.guard.calls) == 1


async def test_a_limiter_that_is_gone_refuses_nobody(tmp_path: Path) -> None:
    async with control_port() as gateway:
        config = EnvoyConfig(
            edges.descriptor_set(tmp_path),
            gateway=("127.0.0.1", gateway.port),
            ratelimiter=("127.0.0.1", free_port()),
        )
        async with edges.running(config, tmp_path) as edge, edge.client() as client, edge.channel() as channel:
            assert (await client.get("/api/v1/urls/abc")).status_code == 200
            assert (await client.post("/api/v1/shorten", json={"url": "x"})).status_code == 200
            await links_grpc.LinkServiceStub(channel).ResolveLink(links_pb.ResolveLinkRequest(short_code="abc"))
            assert await edge.stat("http.http.ratelimit.failure_mode_allowed|.*ratelimit.failure_mode_allowed") == 3


async def test_a_limiter_that_is_not_well_is_not_asked(mesh: Mesh) -> None:
    refuse(mesh)
    await mesh.ratelimiter.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        await mesh.edge.until_stat("cluster.limits.membership_healthy", lambda number: number == 0)
        async with mesh.edge.client() as client:
            assert {(await client.get("/api/v1/urls/abc")).status_code for _ in range(20)} == {200}
        assert mesh.guard.calls == []
    finally:
        await mesh.ratelimiter.health.set("", health_pb2.HealthCheckResponse.SERVING)
    await mesh.edge.until_stat("cluster.limits.membership_healthy", lambda number: number == 1)
    async with mesh.edge.client() as client:
        assert (await client.get("/api/v1/urls/abc")).status_code == 429


async def test_a_limiter_that_does_not_answer_is_soon_left_alone(tmp_path: Path) -> None:
    thawed = asyncio.Event()

    async def hang(_: RateLimitRequest, __: Context) -> RateLimitResponse:
        await thawed.wait()
        return RateLimitResponse(overall_code=RateLimitResponse.OVER_LIMIT)

    async with control_port() as gateway, control_port() as ratelimiter:
        config = EnvoyConfig(
            edges.descriptor_set(tmp_path),
            gateway=("127.0.0.1", gateway.port),
            ratelimiter=("127.0.0.1", ratelimiter.port),
        )
        ratelimiter.guard.answers["ShouldRateLimit"] = hang
        async with edges.running(config, tmp_path) as edge, edge.client() as client:
            await edge.until_stat("cluster.limits.membership_healthy", lambda number: number == 1)
            # As many as it takes in a row; each goes on without an answer.
            for _ in range(5):
                assert (await client.get("/api/v1/urls/abc")).status_code == 200
            ejections = "cluster.limits.outlier_detection.ejections_enforced_consecutive_gateway_failure"
            await edge.until_stat(ejections, lambda number: number > 0)
            thawed.set()
            async with asyncio.timeout(20):
                while (await client.get("/api/v1/urls/abc")).status_code != 429:
                    pass
