"""A service's hot port behind the edge: what the edge makes of its HTTP/2, and it of the edge's."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2

from tests.integration.envoy import edge as edges
from tests.integration.envoy.edge import Edge
from tests.integration.envoy.hot_upstream import hot_port
from tests.integration.envoy.upstreams import Context, ServicePort
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
from waypost.supervisor.envoy import EnvoyConfig

CREATE = {"url": "https://example.com/"}


@asynccontextmanager
async def edge_before(port: int, folder: Path) -> AsyncIterator[Edge]:
    """An edge whose gateway is there."""
    config = EnvoyConfig(edges.descriptor_set(folder), gateway=("127.0.0.1", port))
    async with edges.running(config, folder) as edge:
        yield edge


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Edge, ServicePort]]:
    """An edge before a hot port."""
    async with hot_port() as gateway, edge_before(gateway.port, folder) as edge:
        yield edge, gateway


class Held:
    """Answers that wait until they are let go; `waiting` of them do."""

    def __init__(self) -> None:
        self.waiting = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self, request: pb.CreateLinkRequest, _: Context) -> pb.Link:
        self.waiting += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return pb.Link(short_code="held")


async def test_a_service_is_reached_through_its_socket(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="waypost-") as folder:
        async with hot_port(host=f"unix:{folder}") as gateway:
            config = EnvoyConfig(edges.descriptor_set(tmp_path), gateway=Path(folder) / "hot.sock")
            async with edges.running(config, tmp_path) as edge, edge.client() as client:
                await edge.until_stat("cluster.gateway.health_check.success", lambda times: times > 0)
                assert (await client.post("/api/v1/shorten", json=CREATE)).status_code == 200
            assert [call.method for call in gateway.script.calls] == ["CreateLink"]


async def test_the_edge_asks_for_its_health_there(tmp_path: Path) -> None:
    async with served(tmp_path) as (edge, gateway):
        await edge.until_stat("cluster.gateway.membership_healthy", lambda healthy: healthy == 1)
        await gateway.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await edge.until_stat("cluster.gateway.membership_healthy", lambda healthy: healthy == 0)
        await gateway.health.set("", health_pb2.HealthCheckResponse.SERVING)
        await edge.until_stat("cluster.gateway.membership_healthy", lambda healthy: healthy == 1)


async def test_binary_metadata_goes_both_ways_and_the_protocols_own_does_not(tmp_path: Path) -> None:
    sent, answered = bytes(range(256)), b"\x00\xff,="

    async def tell(_: Any, context: Context) -> pb.Link:
        await context.send_initial_metadata((("x-early-bin", answered),))
        context.set_trailing_metadata((("x-late-bin", answered), ("x-late", "a, b")))
        return pb.Link(short_code="abc")

    async with served(tmp_path) as (edge, gateway), edge.channel() as channel:
        gateway.script.answers["GetLink"] = tell
        call = LinkServiceStub(channel).GetLink(
            pb.GetLinkRequest(short_code="abc"),
            metadata=(("x-own-bin", sent), ("x-own-bin", b""), ("x-own", "v")),
        )
        await call
        initial, trailing = (dict(found) for found in (await call.initial_metadata(), await call.trailing_metadata()))
    assert initial["x-early-bin"] == answered
    assert (trailing["x-late-bin"], trailing["x-late"]) == (answered, "a, b")
    (seen,) = gateway.script.calls
    assert seen.values("x-own-bin") == [str(sent), str(b"")]
    assert seen.metadata["x-own"] == "v"
    assert not {"te", "content-type", "grpc-timeout", "grpc-accept-encoding"} & seen.metadata.keys()


async def test_all_the_headers_that_the_edge_takes_reach_the_service(tmp_path: Path) -> None:
    # 32 KiB, less what the edge's own limit counts besides; by name and value, many and large ones.
    many = {f"x-many-{n}": "m" * 40 for n in range(60)}
    headers = {**many, "x-large": "l" * 26_000}
    async with served(tmp_path) as (edge, gateway):
        for http2 in (False, True):
            async with edge.client(http2=http2) as client:
                assert (await client.get("/api/v1/urls/abc", headers=headers)).status_code == 200
            seen = gateway.script.calls.pop().metadata
            assert {name: seen[name] for name in headers} == headers


async def test_whoever_goes_away_takes_the_call_with_him(tmp_path: Path) -> None:
    held = Held()
    async with served(tmp_path) as (edge, gateway), edge.channel() as channel:
        gateway.script.answers["CreateLink"] = held
        call = LinkServiceStub(channel).CreateLink(pb.CreateLinkRequest())
        await until(lambda: held.waiting == 1)
        call.cancel()
        await until(lambda: held.cancelled == 1)
        async with edge.client() as client:
            post = asyncio.create_task(client.post("/api/v1/shorten", json=CREATE))
            await until(lambda: held.waiting == 1)
            post.cancel()
            await until(lambda: held.cancelled == 2)


async def test_a_change_of_services_fails_no_call_not_even_one_that_must_not_be_sent_again(tmp_path: Path) -> None:
    """The one before finishes what it was sent; the edge sends the rest to its successor, on the same port."""
    held = Held()
    calls = 20
    async with AsyncExitStack() as stack, AsyncExitStack() as before:
        old = await before.enter_async_context(hot_port(grace=30))
        old.script.answers["CreateLink"] = held
        edge = await stack.enter_async_context(edge_before(old.port, tmp_path))
        client = await stack.enter_async_context(edge.client())

        def create() -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(client.post("/api/v1/shorten", json=CREATE))

        under_way = [create() for _ in range(calls)]
        await until(lambda: held.waiting == calls)
        leaving = asyncio.create_task(before.aclose())
        # Whoever comes while nobody listens is refused, and tries again.
        meanwhile = [create() for _ in range(calls)]
        refused = "cluster.gateway.upstream_cx_connect_fail"
        await edge.until_stat(refused, lambda times: times > 0)
        new = await stack.enter_async_context(hot_port(old.port))
        assert {(await task).status_code for task in meanwhile} == {200}
        assert len(old.script.calls) + len(new.script.calls) == 2 * calls
        assert new.script.calls
        assert not leaving.done()
        held.go.set()
        assert {(await task).json()["short_code"] for task in under_way} == {"held"}
        await leaving


async def test_callers_that_cancel_by_the_thousand_break_off_nobody_elses_call(tmp_path: Path) -> None:
    """All of them share the edge's connection to the service, which has to bear with it."""
    held = Held()
    async with served(tmp_path) as (edge, gateway):
        gateway.script.answers["CreateLink"] = held
        async with edge.client() as client:
            patient = asyncio.create_task(client.post("/api/v1/shorten", json=CREATE))
            await until(lambda: held.waiting == 1)
            for _ in range(15):
                async with edge.channel() as channel:
                    create = LinkServiceStub(channel).CreateLink
                    leaving = [create(pb.CreateLinkRequest()) for _ in range(90)]
                    await until(lambda: held.waiting == 91)
                    for call in leaving:
                        call.cancel()
                    await until(lambda: held.waiting == 1)
            assert held.cancelled == 15 * 90
            held.go.set()
            assert (await patient).status_code == 200
        assert await edge.stat("cluster.gateway.upstream_cx_destroy_remote_with_active_rq") == 0


async def test_compressed_messages_are_told_what_is_taken(tmp_path: Path) -> None:
    async with served(tmp_path) as (edge, gateway), edge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await LinkServiceStub(channel).GetLink(
                pb.GetLinkRequest(short_code="a" * 2000), compression=grpc.Compression.Gzip
            )
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "identity" in str(caught.value.details())
    assert not gateway.script.calls
