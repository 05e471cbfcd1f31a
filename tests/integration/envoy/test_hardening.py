"""What strangers try: forged headers, odd requests, floods."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx
import pytest

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as limits_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED = {
    "x-forwarded-for": "203.0.113.7, 203.0.113.8",
    "x-forwarded-host": "evil.example",
    "x-forwarded-port": "1",
    "x-forwarded-prefix": "/evil",
    "x-forwarded-proto": "https",
    "forwarded": "for=203.0.113.7",
    "x-real-ip": "203.0.113.7",
    "x-user-id": "root",
    "X-User-Role": "admin",
    "x-waypost-workspace": "other",
    "baggage": "a=b",
    "x-request-id": "forged",
    "x-envoy-external-address": "203.0.113.7",
    "x-envoy-internal": "true",
    "x-envoy-original-path": "/other",
    "x-envoy-max-retries": "99",
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-timeout-ms": "99999",
    "x-envoy-expected-rq-timeout-ms": "99999",
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def check_cleaned(headers: dict[str, str]) -> None:
    """Nothing forged is left; what Envoy says itself is there."""
    ours = {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-envoy-external-address": "127.0.0.1",
    }
    assert {name: headers.get(name) for name in ours} == ours
    uuid.UUID(headers["x-request-id"])
    for name in map(str.lower, FORGED):
        if name not in ours and name in headers:
            assert headers[name] not in FORGED.values()
    assert [name for name in headers if name.startswith(("x-user-", "x-waypost-"))] == ["x-waypost-edge"]
    assert headers["traceparent"] == TRACE
    assert headers["x-api-key"] == "k"


async def test_forged_headers_do_not_arrive(mesh: Mesh) -> None:
    sent = {**FORGED, "traceparent": TRACE, "x-api-key": "k"}
    async with mesh.edge.client() as client:
        page = await client.get("/abc", headers=sent)
        await client.get("/api/v1/urls/abc", headers=sent)
    check_cleaned(dict(page.json()["headers"]))
    check_cleaned(mesh.links.calls[0].metadata)
    assert mesh.links.calls[0].metadata["x-envoy-original-path"] == "/api/v1/urls/abc"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x*y", "1"),
        ("x!y", "1"),
        ("x~y", "1"),
        ("x#", "1"),
        ("x-bin", "@@"),
        ("grpc-timeout", "zzz"),
        ("grpc-timeout", "1n"),
        ("grpc-encoding", "gzip"),
        ("grpc-retry-pushback-ms", "x"),
        ("grpc-previous-rpc-attempts", "zz"),
        ("grpc-internal-encoding-request", "3"),
    ],
)
async def test_headers_that_mean_something_to_grpc_alone_are_no_part_of_a_json_call(
    mesh: Mesh, name: str, value: str
) -> None:
    async with mesh.edge.client() as client:
        response = await client.get("/api/v1/urls/abc", headers={name: value, "x-own.name-1": "kept"})
    assert response.status_code == 200, response.text
    sent = mesh.links.calls[-1].metadata
    assert sent["x-own.name-1"] == "kept"
    assert sent.get(name) != value


async def test_several_forwarded_for_headers(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        response = await client.get("/abc", headers=[("x-forwarded-for", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2")])
    found = [value for name, value in response.json()["headers"] if name == "x-forwarded-for"]
    assert found == ["127.0.0.1"]


async def test_another_address_is_another_client(mesh: Mesh) -> None:
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(transport=transport) as client:
        headers = dict((await client.get(f"{mesh.edge.url}/abc")).json()["headers"])
    assert headers["x-forwarded-for"] == "127.0.0.2"


@pytest.mark.parametrize(("hops", "caller"), [(1, "198.51.100.2"), (2, "198.51.100.1")])
async def test_behind_proxies_the_caller_is_the_one_they_name(
    mesh: Mesh, tmp_path: Path, hops: int, caller: str
) -> None:
    config = replace(mesh.edge.config, trusted_hops=hops)
    async with edges.running(config, tmp_path) as edge, edge.client() as client:
        headers = {"x-forwarded-for": "203.0.113.9, 198.51.100.1, 198.51.100.2", "x-forwarded-host": "forged"}
        seen = dict((await client.get("/abc", headers=headers)).json()["headers"])
    assert seen["x-forwarded-for"] == caller
    assert "x-forwarded-host" not in seen


@pytest.mark.parametrize("path", ["/abc", "/api/v1/urls/abc", "/api/nowhere"])
async def test_the_correlation_id_comes_back(mesh: Mesh, path: str) -> None:
    async with mesh.edge.client() as client:
        given = await client.get(path, headers={"x-correlation-id": "mine"})
        long = await client.get(path, headers={"x-correlation-id": "y" * 5000})
        made = await client.get(path, headers={"x-request-id": "forged"})
    assert given.headers["x-correlation-id"] == "mine"
    assert long.headers["x-correlation-id"] == "y" * 128
    uuid.UUID(made.headers["x-correlation-id"])


async def test_the_made_up_id_is_the_one_the_service_gets(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        response = await client.get("/abc")
    assert dict(response.json()["headers"])["x-request-id"] == response.headers["x-correlation-id"]


async def test_underscores_in_header_names(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        response = await client.get("/abc", headers={"x_user_id": "root"})
    status.check_json(response, 400, 3, "ERROR_REASON_MALFORMED_REQUEST")
    async with mesh.edge.client(http2=True) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="StreamReset"):
            await client.get("/abc", headers={"x_user_id": "root"})
    assert not mesh.web.requests


@pytest.mark.parametrize(
    "headers", [{"x-large": "x" * 40_000}, {f"x-many-{n}": "x" for n in range(110)}], ids=["large", "many"]
)
async def test_too_many_headers(mesh: Mesh, headers: dict[str, str]) -> None:
    async with mesh.edge.client() as client:
        response = await client.get("/abc", headers=headers)
    status.check_json(response, 431, 8, "ERROR_REASON_REQUEST_TOO_LARGE")
    assert not mesh.web.requests


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /api/v1/shorten HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /abc HTTP/1.1\r\nhost: h\r\nx: a\x00b\r\n\r\n",
        b"GET /abc HTTP/1.1\r\nhost : h\r\n\r\n",
        b"GET /abc HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["smuggling", "nul", "space", "no-host", "tls"],
)
async def test_bad_http_is_refused_and_the_connection_closed(mesh: Mesh, request_head: bytes) -> None:
    answer = await mesh.edge.raw(request_head)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"ERROR_REASON_MALFORMED_REQUEST" in answer
    assert not mesh.web.requests


async def test_header_values_cannot_be_injected(mesh: Mesh) -> None:
    answer = await mesh.edge.raw(
        b"GET /abc HTTP/1.1\r\nhost: h\r\nx-correlation-id: a%0d%0aset-cookie: x\r\nconnection: close\r\n\r\n"
    )
    assert b"\r\nset-cookie" not in answer.lower()
    assert b"x-correlation-id: a%0d%0aset-cookie: x\r\n" in answer


class RawH2:
    """One HTTP/2 connection, frame by frame."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    def request(self, *, end: bool = True) -> int:
        return self._headers("GET", "/abc", end=end)

    def get(self, path: str) -> int:
        return self._headers("GET", path, end=True)

    def post(self, path: str) -> int:
        return self._headers("POST", path, end=False)

    def call(self, method: str, part: bytes = b"") -> int:
        """Begins a gRPC call, which does not end here; `part` is what it says of its message."""
        grpc = ("content-type", "application/grpc"), ("te", "trailers")
        stream = self._headers("POST", f"/waypost.api.v1.{method}", *grpc, end=False)
        if part:
            self.h2.send_data(stream, part)
        return stream

    def _headers(self, method: str, path: str, *more: tuple[str, str], end: bool) -> int:
        stream: int = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "h")]
        self.h2.send_headers(stream, [*pseudo, *more], end_stream=end)
        return stream

    async def events(self) -> list[h2.events.Event]:
        """What the next bytes mean; empty at the end of the connection."""
        async with asyncio.timeout(10):
            try:
                data = await self._reader.read(65_536)
            except ConnectionError:
                return []
        return self.h2.receive_data(data) if data else []

    async def close(self) -> None:
        self._writer.close()


async def test_http2_settings(mesh: Mesh) -> None:
    connection = RawH2(mesh.edge.config.http_port)
    await connection.open()
    seen: dict[int, int] = {}
    window = 0
    while not (seen and window):
        for event in await connection.events():
            if isinstance(event, h2.events.RemoteSettingsChanged):
                seen = {code: setting.new_value for code, setting in event.changed_settings.items()}
            if isinstance(event, h2.events.WindowUpdated) and event.stream_id == 0:
                window = connection.h2.outbound_flow_control_window
    assert seen[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] == 100
    assert seen.get(h2.settings.SettingCodes.INITIAL_WINDOW_SIZE, 65_535) <= 65_536
    assert window == 1_048_576
    await connection.close()


@pytest.mark.parametrize("path", ["/abc?q=é", "/api/v1/urls?filter=é"])
async def test_bytes_that_no_address_has(mesh: Mesh, path: str) -> None:
    """HTTP/1.1's decoder refuses them by itself, HTTP/2's does not. In a path they are percent-encoded on the way."""
    connection = RawH2(mesh.edge.config.http_port)
    await connection.open()
    connection.get(path)
    status, body, ended = "", b"", False
    while not ended:
        connection.flush()
        for event in await connection.events():
            if isinstance(event, h2.events.ResponseReceived):
                status = bytes(dict(event.headers)[b":status"]).decode()
            if isinstance(event, h2.events.DataReceived):
                body += event.data
            ended |= isinstance(event, h2.events.StreamEnded | h2.events.ConnectionTerminated)
    assert (status, json.loads(body)["code"]) == ("400", 3)
    await connection.close()


async def test_rapid_reset_ends_the_connection(mesh: Mesh) -> None:
    before = await mesh.edge.stat("http.http.downstream_rq_too_many_premature_resets")
    connection = RawH2(mesh.edge.config.http_port)
    await connection.open()
    for _ in range(600):
        stream = connection.request(end=False)
        connection.h2.reset_stream(stream)
    connection.flush()
    while await connection.events():
        pass
    await connection.close()
    assert await mesh.edge.stat("http.http.downstream_rq_too_many_premature_resets") == before + 1


@contextlib.asynccontextmanager
async def a_dozen_connections(mesh: Mesh) -> AsyncIterator[list[RawH2]]:
    """Twelve HTTP/2 connections: with 96 calls on each, more than Envoy's own bound on requests, 1024."""
    connections = [RawH2(mesh.edge.config.http_port) for _ in range(12)]
    async with contextlib.AsyncExitStack() as stack:
        for connection in connections:
            await connection.open()
            stack.push_async_callback(connection.close)
        yield connections


async def test_calls_that_never_end_take_no_room_from_others(mesh: Mesh) -> None:
    async with a_dozen_connections(mesh) as connections, mesh.edge.client() as client, mesh.edge.channel() as channel:
        for number, connection in enumerate(connections):
            for method in ("LinkService/GetLink", "LinkService/CreateLink", "RateLimitService/Check"):
                for _ in range(32):
                    # Nothing, a message's length alone, or a message without its end.
                    connection.call(method, (b"", b"\0\0\0\0\x09", b"\0\0\0\0\x02\x0a")[number % 3])
            connection.flush()
        await mesh.edge.until_stat("http.http.downstream_rq_active", lambda active: active == 12 * 96)
        for cluster in ("gateway", "ratelimiter"):
            assert await mesh.edge.stat(f"cluster.{cluster}.upstream_rq_active") == 0
            assert await mesh.edge.stat(f"cluster.{cluster}.upstream_rq_pending_active") == 0

        assert (await client.post("/api/v1/shorten", json={"url": "x"})).status_code == 200
        assert (await client.post("/api/v1/ratelimit/check", json={})).status_code == 200
        await links_grpc.LinkServiceStub(channel).CreateLink(links_pb.CreateLinkRequest())
        assert (await client.get("/abc")).status_code == 200
        assert len(mesh.links.calls) == 2
    await mesh.edge.until_stat("http.http.downstream_rq_active", lambda active: active == 0)


async def test_a_service_that_answers_late_has_room_for_many(mesh: Mesh) -> None:
    arrived, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def late(*_: object) -> links_pb.Link:
        arrived.release()
        await go_on.wait()
        return links_pb.Link()

    mesh.links.answers["GetLink"] = late
    async with a_dozen_connections(mesh) as connections, mesh.edge.client() as client:
        for connection in connections:
            for _ in range(96):
                connection.h2.end_stream(connection.call("LinkService/GetLink", b"\0\0\0\0\0"))
            connection.flush()
            async with asyncio.timeout(10):
                for _ in range(96):
                    await arrived.acquire()
        assert await mesh.edge.stat("cluster.gateway.upstream_rq_active") == 12 * 96
        assert (await client.post("/api/v1/shorten", json={"url": "x"})).status_code == 200
        go_on.set()
        await mesh.edge.until_stat("cluster.gateway.upstream_rq_active", lambda active: active == 0)


async def test_batches_that_fill_the_memory_go_before_anybody_else_has_to(
    mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of them together do not bring this one to where it turns everybody away.
    bounds = {
        "max_heap_size_bytes: 536870912": "max_heap_size_bytes: 134217728",
        "{scaling_threshold: 0.7, saturation_threshold: 0.9}": "{scaling_threshold: 0.1, saturation_threshold: 0.3}",
    }
    edges.hasten(monkeypatch, tmp_path, bounds)
    async with edges.running(mesh.edge.config, tmp_path) as edge, edge.client() as client:
        connection = RawH2(edge.config.http_port)
        await connection.open()
        # Each will be all but done: 80 MiB.
        left = dict.fromkeys([connection.post("/api/v1/shorten:batch") for _ in range(20)], 3 * 1024 * 1024 - 1)
        resets = 0
        async with asyncio.timeout(20):
            while not resets:
                for stream, rest in left.items():
                    size = min(rest, 16_384, connection.h2.local_flow_control_window(stream))
                    if size:
                        connection.h2.send_data(stream, b" " * size)
                        left[stream] -= size
                connection.flush()
                for event in await connection.events():
                    if isinstance(event, h2.events.StreamReset):
                        resets += 1
                assert (await client.get("/abc")).status_code == 200
        assert await edge.stat("envoy.overload_actions.reset_high_memory_stream.count") >= resets
        assert (await client.post("/api/v1/shorten", json={"url": "x"})).status_code == 200
        await connection.close()


async def test_requests_that_take_too_long_to_arrive(
    mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real times are ten seconds each.
    times = {
        "request_headers_timeout: 10s": "request_headers_timeout: 0.3s",
        "request_timeout: 10s": "request_timeout: 1s",
    }
    edges.hasten(monkeypatch, tmp_path, times)
    post = b"POST /api/v1/shorten HTTP/1.1\r\nhost: h\r\n"
    async with edges.running(mesh.edge.config, tmp_path) as edge:
        for slow in (b"G", b"GET /abc HTTP/1.1\r\nhost: h\r\nx-a: ", post + b"content-length: 10\r\n\r\n{"):
            # `raw` returns when the connection is closed.
            head, _, body = (await edge.raw(slow)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in head
            answer = json.loads(body)
            assert (answer["code"], answer["details"][0]["reason"]) == (4, "ERROR_REASON_DEADLINE_EXCEEDED")

        connection = RawH2(edge.config.http_port)
        await connection.open()
        calls = {connection.call("LinkService/GetLink", part) for part in (b"", b"\0\0\0\0\x02\x0a")}
        connection.flush()
        ended: dict[int, dict[bytes, bytes]] = {}
        while len(ended) < len(calls):
            for event in await connection.events():
                if isinstance(event, h2.events.ResponseReceived):
                    ended[event.stream_id] = {bytes(name): bytes(value) for name, value in event.headers}
        for headers in ended.values():
            assert headers[b":status"] == b"200"
            assert headers[b"grpc-status"] == b"4"
            assert b"grpc-status-details-bin" in headers
        # The connection itself has done nothing wrong.
        connection.request()
        connection.flush()
        while not any(isinstance(event, h2.events.StreamEnded) for event in await connection.events()):
            pass
        await connection.close()
    assert not mesh.links.calls


async def test_more_connections_than_there_is_room_for(
    mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges.hasten(
        monkeypatch, tmp_path, {"max_active_downstream_connections: 10000": "max_active_downstream_connections: 3"}
    )
    async with edges.running(mesh.edge.config, tmp_path) as edge, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(edge.client()) for _ in range(3)]
        for client in clients:
            assert (await client.get("/abc")).status_code == 200
        assert await edge.stat("http.http.downstream_cx_active") == 3
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.config.http_port)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()
        for client in clients:
            assert (await client.get("/abc")).status_code == 200
        assert await edge.stat("http.http.downstream_cx_total") == 3
        # Whoever goes makes room.
        await clients[0].aclose()
        await edge.until_stat("http.http.downstream_cx_active", lambda active: active == 2)
        async with edge.client() as client:
            assert (await client.get("/abc")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/shorten"),
        ("POST", "/api/v1/ratelimit/check"),
        ("DELETE", "/api/v1/urls/abc"),
        ("PUT", "/api/v1/urls/abc"),
        ("PATCH", "/api/v1/urls/abc"),
        ("POST", "/api/../api//v1/shorten"),
    ],
)
async def test_pages_of_other_sites_change_nothing(mesh: Mesh, method: str, path: str) -> None:
    async with mesh.edge.client() as client:
        # A form, and a fetch whose body is said to be nothing: both are sent without asking first.
        for content_type in ({"content-type": "application/x-www-form-urlencoded"}, {}):
            headers = {"sec-fetch-site": "cross-site", **content_type}
            response = await client.request(method, path, content=b'{"url": "x"}', headers=headers)
            answer = status.check_json(response, 403, 7, "ERROR_REASON_CROSS_SITE")
            assert "another site" in answer["message"]
            assert "x-correlation-id" in response.headers
    assert not mesh.links.calls
    assert not mesh.limits.calls


@pytest.mark.parametrize("site", [None, "same-origin", "same-site", "none"])
async def test_pages_of_ones_own_and_programs_may(mesh: Mesh, site: str | None) -> None:
    headers = {"sec-fetch-site": site} if site else {}
    async with mesh.edge.client() as client:
        assert (await client.post("/api/v1/shorten", json={"url": "x"}, headers=headers)).status_code == 200
        assert (await client.delete("/api/v1/urls/abc", headers=headers)).status_code == 200


async def test_links_on_other_sites_lead_here(mesh: Mesh) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    async with mesh.edge.client() as client:
        assert (await client.get("/abc", headers=headers)).status_code == 200
        assert (await client.get("/api/v1/urls/abc", headers=headers)).status_code == 200


async def test_the_rate_limiter_knows_what_came_through_the_edge(mesh: Mesh) -> None:
    async with mesh.edge.client() as client, mesh.edge.channel() as channel:
        for forged in ({}, {"x-waypost-edge": "0"}):
            await client.post("/api/v1/ratelimit/check", json={}, headers=forged)
            await limits_grpc.RateLimitServiceStub(channel).Check(
                limits_pb.CheckRequest(), metadata=tuple(forged.items())
            )
    assert [call.metadata["x-waypost-edge"] for call in mesh.limits.calls] == ["1"] * 4


async def test_the_admin_interface_is_not_reachable_through_the_listener(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        for path in ("/stats", "/config_dump", "/quitquitquit"):
            assert (await client.get(path)).json()["target"] == path
            assert (await client.post(path)).status_code == 405
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.2", mesh.edge.config.admin_port)
