"""gRPC through the edge: services that are routed and those that are not, statuses, deadlines."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from waypost.api.v1 import job_service_pb2, job_service_pb2_grpc
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as limits_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMPTY_MESSAGE = b"\0\0\0\0\0"
GRPC = {"content-type": "application/grpc", "te": "trailers"}


async def test_calls_reach_their_service(mesh: Mesh) -> None:
    async with mesh.edge.channel() as channel:
        link = await links_grpc.LinkServiceStub(channel).CreateLink(
            links_pb.CreateLinkRequest(url="https://e.example/")
        )
        await limits_grpc.RateLimitServiceStub(channel).Check(limits_pb.CheckRequest(domain="d"))
    assert link.short_code == "abc"
    assert [call.method for call in mesh.links.calls] == ["CreateLink"]
    assert [call.method for call in mesh.limits.calls] == ["Check"]
    # A caller's own deadline is gRPC's business; this header is for JSON calls.
    assert "x-envoy-expected-rq-timeout-ms" not in mesh.links.calls[0].metadata


async def test_status_details_and_trailers_pass(mesh: Mesh) -> None:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        context.set_trailing_metadata((("x-own", "1"),))
        await status.abort(
            context,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            status.info("ERROR_REASON_RATE_LIMITED", limit="r"),
            error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3)),
        )

    mesh.links.answers["CreateLink"] = fail
    async with mesh.edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await links_grpc.LinkServiceStub(channel).CreateLink(links_pb.CreateLinkRequest())
    found, info = status.from_error(caught.value)
    assert (info.reason, info.metadata["limit"]) == ("ERROR_REASON_RATE_LIMITED", "r")
    assert len(found.details) == 2


async def test_messages_up_to_64_kib(mesh: Mesh) -> None:
    largest = links_pb.CreateLinkRequest(url="x" * 65_532)
    assert largest.ByteSize() == 65_536
    async with mesh.edge.channel() as channel:
        stub = links_grpc.LinkServiceStub(channel)
        await stub.CreateLink(largest)
        for size in (65_533, 300_000):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.CreateLink(links_pb.CreateLinkRequest(url="x" * size))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            found, info = status.from_error(caught.value)
            assert info.reason == "ERROR_REASON_REQUEST_TOO_LARGE"
            assert "65,536" in found.message
    assert [call.request for call in mesh.links.calls] == [largest]


async def test_what_is_not_routed_is_unimplemented(mesh: Mesh) -> None:
    async with mesh.edge.channel() as channel:
        unknown: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/waypost.api.v1.Other/Get")
        for attempt in (
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()),
            job_service_pb2_grpc.JobServiceStub(channel).ListJobs(job_service_pb2.ListJobsRequest()),
            unknown(b""),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await attempt
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            _, info = status.from_error(caught.value)
            assert info.reason == "ERROR_REASON_UNKNOWN_METHOD"
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        assert await reflection.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_unknown_method_of_a_known_service_is_answered_by_it(mesh: Mesh) -> None:
    links = "/waypost.api.v1.LinkService"
    async with mesh.edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{links}/Nope")
            await method(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/", "/abc", "/api/v1/shorten", "/grpc.health.v1.Health/Check"])
async def test_grpc_anywhere_else_is_trailers_only(mesh: Mesh, path: str) -> None:
    async with mesh.edge.client(http2=True) as client:
        response = await client.post(path, content=EMPTY_MESSAGE, headers=GRPC)
    assert (response.status_code, response.headers["grpc-status"], response.content) == (200, "12", b"")
    assert response.headers["content-type"] == "application/grpc"
    assert not mesh.web.requests


async def test_a_callers_deadline_is_kept_though_the_caller_does_not_watch_it(mesh: Mesh) -> None:
    gone = asyncio.Event()

    async def slow(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            gone.set()

    mesh.links.answers["GetLink"] = slow
    async with mesh.edge.client(http2=True) as client:
        response = await client.post(
            "/waypost.api.v1.LinkService/GetLink", content=EMPTY_MESSAGE, headers={**GRPC, "grpc-timeout": "300m"}
        )
    assert response.headers["grpc-status"] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    await asyncio.wait_for(gone.wait(), 20)


async def test_the_caller_gets_its_own_deadline_error(mesh: Mesh) -> None:
    async def slow(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        assert (context.time_remaining() or 0) < 0.5
        await asyncio.sleep(60)

    mesh.links.answers["GetLink"] = slow
    async with mesh.edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await links_grpc.LinkServiceStub(channel).GetLink(links_pb.GetLinkRequest(), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
