"""A batch may be larger, take longer and be answered at greater length than any other call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.integration.envoy.hot_upstream import hot_port
from tests.integration.envoy.upstreams import ServicePort, control_port
from tests.support.ports import free_port
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import link_service_pb2_grpc as pb_grpc
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as limits_grpc
from waypost.rpc.channel import MAX_ANSWER_BYTES, channel
from waypost.supervisor.envoy import EnvoyConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCH = "/api/v1/shorten:batch"
JSON = {"content-type": "application/json"}
MIB = 1024 * 1024
TOO_LARGE = "ERROR_REASON_REQUEST_TOO_LARGE"


def full_body(character: str = "x", count: int = 512) -> bytes:
    """A batch in JSON of exactly 3 MiB: `count` URLs, all of this character."""
    room = (3 * MIB - len('{"requests":[]}')) // count - len('{"url":""},')
    url = character * (room // len(character.encode()))
    body = ('{"requests":[' + ",".join([f'{{"url":"{url}"}}'] * count) + "]}").encode()
    return body + b" " * (3 * MIB - len(body))


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


async def echo(request: pb.BatchCreateLinksRequest, _: Any) -> pb.BatchCreateLinksResponse:
    """A link for each request, with its URL."""
    links = [pb.Link(short_code="abc", original_url=one.url) for one in request.requests]
    return pb.BatchCreateLinksResponse(results=[pb.BatchCreateLinkResult(link=link) for link in links])


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("chunked", [False, True], ids=["at once", "in pieces"])
async def test_batches_of_up_to_4_mib_and_no_other_call(mesh: Mesh, http2: bool, chunked: bool) -> None:
    body = full_body()
    async with mesh.edge.client(http2=http2) as client:

        async def post(path: str, data: bytes) -> Any:
            return await client.post(path, content=pieces(data) if chunked else data, headers=JSON)

        assert (await post(BATCH, body)).status_code == 200
        for path, data, most in (
            (BATCH, body + b" ", "3,145,728"),
            (f"{BATCH}?a=b", body + b" ", "3,145,728"),
            ("/api/v1/shorten", b" " * 65_537, "65,536"),
            ("/api/v1/shorten?:batch", b" " * 65_537, "65,536"),
            ("/api/v1/urls/abc:undelete", b" " * 65_537, "65,536"),
        ):
            answer = status.check_json(await post(path, data), 413, 8, TOO_LARGE)
            assert answer["message"] == f"the body is larger than {most} bytes"
    (call,) = mesh.links.calls
    assert isinstance(call.request, pb.BatchCreateLinksRequest)
    assert len(call.request.requests) == 512


async def test_messages_of_up_to_4_mib_and_no_other_call(mesh: Mesh) -> None:
    largest = pb.BatchCreateLinksRequest(request_id="x" * (3 * MIB - 5))
    assert largest.ByteSize() == 3 * MIB
    async with mesh.edge.channel() as edge:
        stub = pb_grpc.LinkServiceStub(edge)
        await stub.BatchCreateLinks(largest)
        for call, most in (
            (stub.BatchCreateLinks(pb.BatchCreateLinksRequest(request_id=largest.request_id + "x")), "3,145,728"),
            (stub.UpdateLink(pb.UpdateLinkRequest(title="x" * 65_540)), "65,536"),
            (stub.ListLinks(pb.ListLinksRequest(filter="x" * 65_540)), "65,536"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            found, info = status.from_error(raised.value)
            assert (info.reason, found.message) == (TOO_LARGE, f"the message is larger than {most} bytes")
    assert [call.request for call in mesh.links.calls] == [largest]


@pytest.mark.parametrize(("character", "answer_bytes"), [("x", 3 * MIB), ("<", 18 * MIB)])
async def test_a_full_batch_is_answered_in_full(mesh: Mesh, character: str, answer_bytes: int) -> None:
    """`<` is what JSON here writes longest: in six bytes for one."""
    mesh.links.answers["BatchCreateLinks"] = echo
    async with mesh.edge.client() as client:
        response = await client.post(BATCH, content=full_body(character), headers=JSON)
    assert response.status_code == 200, response.text[:500]
    assert answer_bytes < len(response.content) < answer_bytes + MIB
    results = response.json()["results"]
    assert len(results) == 512
    assert set(results[0]["link"]["original_url"]) == {character}


async def test_an_answer_larger_than_grpcs_own_bound_reaches_our_channels(mesh: Mesh) -> None:
    async def at_length(*_: object) -> pb.BatchCreateLinksResponse:
        link = pb.Link(original_url="x" * 8_192, title="y" * 256)
        return pb.BatchCreateLinksResponse(results=[pb.BatchCreateLinkResult(link=link)] * 1000)

    mesh.links.answers["BatchCreateLinks"] = at_length
    async with channel(mesh.edge.target) as ours, mesh.edge.channel() as plain:
        answer = await pb_grpc.LinkServiceStub(ours).BatchCreateLinks(pb.BatchCreateLinksRequest())
        assert 3 * MIB < answer.ByteSize() < MAX_ANSWER_BYTES
        # What a client meets that was not told to take more; it is the client that says so.
        with pytest.raises(grpc.aio.AioRpcError, match="larger than max"):
            await pb_grpc.LinkServiceStub(plain).BatchCreateLinks(pb.BatchCreateLinksRequest())


async def test_a_batch_has_three_times_the_time(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        await client.post(BATCH, json={})
        await client.post(BATCH, json={}, headers={"idempotency-key": "k"})
        await client.post("/api/v1/shorten", json={}, headers={"idempotency-key": "k"})
    times = [int(call.metadata["x-envoy-expected-rq-timeout-ms"]) for call in mesh.links.calls]
    assert [9_000 < time <= 10_000 for time in times] == [False, False, True]
    assert all(29_000 < time <= 30_000 for time in times[:2])


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("serve", [hot_port, control_port])
async def test_a_full_batch_outlasts_a_restart_too(
    tmp_path: Path, serve: Callable[[int], AbstractAsyncContextManager[ServicePort]], keyed: bool
) -> None:
    """Its bytes are kept for the next attempt."""
    port = free_port()
    config = EnvoyConfig(edges.descriptor_set(tmp_path), gateway=("127.0.0.1", port))
    headers = JSON | ({"idempotency-key": "k"} if keyed else {})
    async with edges.running(config, tmp_path) as edge, edge.client() as client, channel(edge.target) as ours:
        stub = pb_grpc.LinkServiceStub(ours)
        request = pb.BatchCreateLinksRequest(request_id="x" * 3_000_000)
        metadata = (("idempotency-key", "k"),) if keyed else ()

        async def over_http() -> int:
            return (await client.post(BATCH, content=full_body(), headers=headers)).status_code

        async def over_grpc() -> int:
            return len((await stub.BatchCreateLinks(request, metadata=metadata)).results)

        http, rpc = asyncio.create_task(over_http()), asyncio.create_task(over_grpc())
        await edge.until_stat("cluster.gateway.upstream_rq_retry", lambda retries: retries >= 2)
        async with serve(port) as gateway:
            gateway.script.answers["BatchCreateLinks"] = echo
            assert await http == 200
            assert await rpc == 0
            assert len(gateway.script.calls) == 2


async def test_batches_of_questions_about_limits_are_as_large(mesh: Mesh) -> None:
    value = "x" * (3 * MIB - 40)
    entry = limits_pb.RateLimitEntry(key="k", value=value)
    question = limits_pb.CheckRequest(descriptors=[limits_pb.RateLimitDescriptor(entries=[entry])])
    largest = limits_pb.BatchCheckRequest(requests=[question])
    largest.requests[0].domain = "d" * (3 * MIB - largest.ByteSize() - 2)
    assert largest.ByteSize() == 3 * MIB
    async with mesh.edge.channel() as edge, mesh.edge.client() as client:
        stub = limits_grpc.RateLimitServiceStub(edge)
        await stub.BatchCheck(largest)
        for call, most in (
            (stub.BatchCheck(limits_pb.BatchCheckRequest(requests=[*largest.requests, question])), "3,145,728"),
            (stub.Check(question), "65,536"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            found, info = status.from_error(raised.value)
            assert (info.reason, found.message) == (TOO_LARGE, f"the message is larger than {most} bytes")
        path = "/api/v1/ratelimit/check:batch"
        body = b'{"requests":[]}'
        assert (await client.post(path, content=body + b" " * (3 * MIB - len(body)), headers=JSON)).status_code == 200
        answer = await client.post(path, content=b" " * (3 * MIB + 1), headers=JSON)
        status.check_json(answer, 413, 8, TOO_LARGE)
    assert [call.method for call in mesh.limits.calls] == ["BatchCheck"] * 2
