"""Services that are down, slow, draining or restarting."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.integration.envoy.edge import Edge
from tests.integration.envoy.hot_upstream import hot_port
from tests.integration.envoy.upstreams import ServicePort, control_port, web_port
from tests.support.ports import free_port
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as limits_grpc
from waypost.errors import DependencyUnavailable, Draining
from waypost.supervisor.envoy import EnvoyConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOWN = "ERROR_REASON_DEPENDENCY_UNAVAILABLE"


@contextlib.asynccontextmanager
async def deserted(folder: Path, *, brisk: bool) -> AsyncIterator[Edge]:
    """An edge with nobody behind it, which tries again at once or, as in earnest, after a while."""
    config = EnvoyConfig(
        edges.descriptor_set(folder),
        gateway=("127.0.0.1", free_port()),
        gateway_web=("127.0.0.1", free_port()),
        ratelimiter=("127.0.0.1", free_port()),
    )
    async with edges.running(config, folder, brisk=brisk) as edge:
        yield edge


async def test_nobody_is_there(tmp_path: Path) -> None:
    async with deserted(tmp_path, brisk=True) as edge, edge.client() as client, edge.channel() as channel:

        async def grpc_error(call: Any) -> grpc.aio.AioRpcError:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            return caught.value

        page, read, create, check, link_error, limit_error = await asyncio.gather(
            client.get("/abc?token=secret"),
            client.get("/api/v1/urls/abc"),
            client.post("/api/v1/shorten", json={"url": "x"}),
            client.post("/api/v1/ratelimit/check", json={}),
            grpc_error(links_grpc.LinkServiceStub(channel).GetLink(links_pb.GetLinkRequest())),
            grpc_error(limits_grpc.RateLimitServiceStub(channel).Check(limits_pb.CheckRequest())),
        )
    for response, dependency in ((page, "gateway_web"), (read, "gateway"), (create, "gateway"), (check, "ratelimiter")):
        answer = status.check_json(response, 503, 14, DOWN)
        assert answer["details"][0]["metadata"] == {"dependency": dependency}
        assert answer["details"][1] == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1s"}
        assert response.headers["retry-after"] == "1"
        assert "x-correlation-id" in response.headers
        assert "refused" not in response.text
    for error, dependency in ((link_error, "gateway"), (limit_error, "ratelimiter")):
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        _, info = status.from_error(error)
        assert (info.reason, info.metadata["dependency"]) == (DOWN, dependency)
    log = [json.loads(line) for line in (tmp_path / "envoy.out").read_text().splitlines()]
    assert {line["path"] for line in log if line["method"] == "GET"} == {"/abc", "/api/v1/urls/abc"}
    assert "secret" not in json.dumps(log)


@pytest.mark.parametrize("serve", [hot_port, control_port])
async def test_a_restart_costs_nothing(
    tmp_path: Path, serve: Callable[[int], contextlib.AbstractAsyncContextManager[ServicePort]]
) -> None:
    async with deserted(tmp_path, brisk=False) as edge, edge.client() as client:
        requests = [
            client.request(method, path, json=body)
            for _ in range(10)
            for method, path, body in (
                ("GET", "/abc", None),
                ("GET", "/api/v1/urls/abc", None),
                ("POST", "/api/v1/shorten", {"url": "x"}),
            )
        ]
        answers = asyncio.gather(*requests)
        # Everyone has been refused at least once.
        await edge.until_stat("http.http.downstream_rq_active", lambda active: active == len(requests))
        await edge.until_stat("cluster.gateway.upstream_rq_retry", lambda retries: retries >= 20)
        async with (
            serve(edges.port_of(edge.config.gateway)) as gateway,
            web_port(edges.port_of(edge.config.gateway_web)) as web,
        ):
            assert {response.status_code for response in await answers} == {200}
            assert len(web.requests) == 10
            assert sorted(call.method for call in gateway.script.calls) == ["CreateLink"] * 10 + ["GetLink"] * 10


async def test_reads_outlast_a_drain_and_writes_are_told(mesh: Mesh) -> None:
    async def draining(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if len(mesh.links.calls) < 3:
            info = status.info("ERROR_REASON_DRAINING")
            await status.abort(context, grpc.StatusCode.UNAVAILABLE, info, message=str(Draining()))
        return links_pb.Link(short_code="abc")

    mesh.links.answers.update(GetLink=draining, CreateLink=draining)
    async with mesh.edge.client() as client, mesh.edge.channel() as channel:
        assert (await client.get("/api/v1/urls/abc")).status_code == 200
        assert len(mesh.links.calls) == 3
        mesh.links.calls.clear()
        assert (await links_grpc.LinkServiceStub(channel).GetLink(links_pb.GetLinkRequest())).short_code == "abc"
        assert len(mesh.links.calls) == 3
        mesh.links.calls.clear()
        status.check_json(await client.post("/api/v1/shorten", json={"url": "x"}), 503, 14, "ERROR_REASON_DRAINING")
        assert len(mesh.links.calls) == 1
        # Under a key a write is as harmless as a read.
        mesh.links.calls.clear()
        response = await client.post("/api/v1/shorten", json={"url": "x"}, headers={"idempotency-key": "k"})
        assert response.status_code == 200
        assert [call.metadata["idempotency-key"] for call in mesh.links.calls] == ["k"] * 3


async def test_a_service_that_is_unavailable_is_believed(mesh: Mesh) -> None:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        info = status.info(DOWN, dependency="postgres")
        await status.abort(context, grpc.StatusCode.UNAVAILABLE, info, message=str(DependencyUnavailable("postgres")))

    mesh.links.answers["GetLink"] = fail
    async with mesh.edge.client() as client:
        answer = status.check_json(await client.get("/api/v1/urls/abc"), 503, 14, DOWN)
    assert answer["details"][0]["metadata"] == {"dependency": "postgres"}
    assert len(mesh.links.calls) == 1


@contextlib.asynccontextmanager
async def forgetful(folder: Path) -> AsyncIterator[tuple[Edge, list[bytes]]]:
    """An edge whose upstreams take every request and are gone; also what they were sent."""
    heads: list[bytes] = []

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            heads.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    address = ("127.0.0.1", server.sockets[0].getsockname()[1])
    config = EnvoyConfig(edges.descriptor_set(folder), gateway=address, gateway_web=address, ratelimiter=address)
    async with edges.running(config, folder, brisk=True) as edge:
        yield edge, heads
    server.close()
    await server.wait_closed()


async def test_a_lost_answer_is_asked_for_again_only_where_that_is_harmless(tmp_path: Path) -> None:
    async with forgetful(tmp_path) as (edge, heads), edge.client() as client:
        status.check_json(await client.post("/api/v1/shorten", json={"url": "x"}), 503, 14, DOWN)
        assert await edge.stat("cluster.gateway.upstream_rq_retry") == 0
        read, page = await asyncio.gather(client.get("/api/v1/urls/abc"), client.get("/abc"))
        for response in (read, page):
            status.check_json(response, 503, 14, DOWN)
        assert await edge.stat("cluster.gateway.upstream_rq_retry") > 0
        assert len([head for head in heads if head.startswith(b"GET /abc ")]) > 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/shorten"),
        ("POST", "/api/v1/shorten:batch"),
        ("PATCH", "/api/v1/urls/abc"),
        ("DELETE", "/api/v1/urls/abc"),
        ("POST", "/api/v1/urls/abc:undelete"),
    ],
)
async def test_changes_are_asked_for_again_under_a_key_alone(tmp_path: Path, method: str, path: str) -> None:
    content = b"{}" if method != "DELETE" else b""
    async with forgetful(tmp_path) as (edge, _), edge.client() as client:
        for key, again in (({}, False), ({"idempotency-key": ""}, False), ({"idempotency-key": "k"}, True)):
            before = await edge.stat("cluster.gateway.upstream_rq_retry")
            status.check_json(await client.request(method, path, content=content, headers=key), 503, 14, DOWN)
            assert (await edge.stat("cluster.gateway.upstream_rq_retry") > before) is again


async def test_grpc_callers_changes_too(tmp_path: Path) -> None:
    async with forgetful(tmp_path) as (edge, _), edge.channel() as channel:
        stub = links_grpc.LinkServiceStub(channel)
        changes: list[Any] = [
            lambda metadata: stub.UpdateLink(links_pb.UpdateLinkRequest(), metadata=metadata),
            lambda metadata: stub.BatchCreateLinks(links_pb.BatchCreateLinksRequest(), metadata=metadata),
        ]
        for change in changes:
            for metadata, again in (((), False), ((("idempotency-key", "k"),), True)):
                before = await edge.stat("cluster.gateway.upstream_rq_retry")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await change(metadata)
                assert status.from_error(caught.value)[1].reason == DOWN
                assert (await edge.stat("cluster.gateway.upstream_rq_retry") > before) is again


async def test_slow_calls_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real timeouts are seconds; here they are shortened.
    hasty = {"&json_timeout 10s": "&json_timeout 0.3s", " timeout: 5s\n": " timeout: 0.3s\n"}
    edges.hasten(monkeypatch, tmp_path, hasty)
    cancelled = asyncio.Event()

    async def slow(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    async with control_port() as gateway, web_port() as web:
        web.answer = b"HTTP/1.1 200 OK\r\n"
        gateway.script.answers["CreateLink"] = slow
        config = EnvoyConfig(
            edges.descriptor_set(tmp_path),
            gateway=("127.0.0.1", gateway.port),
            gateway_web=("127.0.0.1", web.port),
        )
        async with edges.running(config, tmp_path) as edge, edge.client() as client:
            call, page = await asyncio.gather(client.post("/api/v1/shorten", json={}), client.get("/abc"))
            for response in (call, page):
                answer = status.check_json(response, 504, 4, "ERROR_REASON_DEADLINE_EXCEEDED")
                assert answer["details"][0]["metadata"] == {"timeout_ms": "300"}
            await asyncio.wait_for(cancelled.wait(), 20)
            assert len(gateway.script.calls) == len(web.requests) == 1


async def test_the_only_endpoint_is_used_though_it_is_unwell(mesh: Mesh) -> None:
    await mesh.gateway.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        await mesh.edge.until_stat("cluster.gateway.membership_healthy", lambda healthy: healthy == 0)
        async with mesh.edge.client() as client:
            assert (await client.get("/api/v1/urls/abc")).status_code == 200
    finally:
        await mesh.gateway.health.set("", health_pb2.HealthCheckResponse.SERVING)
    await mesh.edge.until_stat("cluster.gateway.membership_healthy", lambda healthy: healthy == 1)


async def test_the_only_endpoint_is_never_ejected(mesh: Mesh) -> None:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await status.abort(context, grpc.StatusCode.UNAVAILABLE, status.info(DOWN))

    mesh.links.answers["CreateLink"] = fail
    async with mesh.edge.client() as client:
        for _ in range(12):
            assert (await client.post("/api/v1/shorten", json={})).status_code == 503
        assert await mesh.edge.stat("cluster.gateway.outlier_detection.ejections_active") == 0
        mesh.links.answers.clear()
        assert (await client.post("/api/v1/shorten", json={})).status_code == 200


async def test_one_of_two_services_down_is_one_down(tmp_path: Path) -> None:
    async with control_port() as ratelimiter:
        config = EnvoyConfig(
            edges.descriptor_set(tmp_path),
            gateway=("127.0.0.1", free_port()),
            ratelimiter=("127.0.0.1", ratelimiter.port),
        )
        async with edges.running(config, tmp_path) as edge:
            async with httpx.AsyncClient(trust_env=False) as client:
                response = await client.post(f"{edge.url}/api/v1/ratelimit/check", json={"domain": "d"})
            assert response.status_code == 200
