"""Every way in which Envoy itself says no: a google.rpc.Status with its reason, or a problem that says the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.integration.envoy import edge as edges
from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.integration.envoy.edge import Edge
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import link_service_pb2_grpc as links_grpc
from waypost.rpc.problem import PROBLEM_TYPE

pytestmark = pytest.mark.asyncio(loop_scope="module")

MALFORMED = "ERROR_REASON_MALFORMED_REQUEST"
NO_ROUTE = "ERROR_REASON_ROUTE_NOT_FOUND"
TOO_LARGE = "ERROR_REASON_REQUEST_TOO_LARGE"
LATE = "ERROR_REASON_DEADLINE_EXCEEDED"
DOWN = "ERROR_REASON_DEPENDENCY_UNAVAILABLE"

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Refusal:
    """A request, and how it is refused: HTTP status, gRPC code, reason, a part of the message."""

    method: str
    path: str
    http_status: int
    code: int
    reason: str
    hint: str
    headers: dict[str, str]
    body: bytes = b""


def refusal(
    method: str,
    path: str,
    refused: tuple[int, int, str],
    hint: str,
    body: bytes = b"",
    headers: dict[str, str] = JSON,
    *,
    name: str = "",
) -> Any:
    """One row of the table."""
    return pytest.param(Refusal(method, path, *refused, hint, headers, body), id=name or f"{method} {path}")


REFUSALS = [
    refusal("POST", "/api/v1/shorten", (400, 3, MALFORMED), "Unexpected end", b'{"url": '),
    refusal("POST", "/api/v1/shorten", (400, 3, MALFORMED), '"', b'{"url": "\\"\xc3\xa9\\u0001"', name="quotes"),
    refusal("POST", "/api/v1/shorten", (400, 3, MALFORMED), "ttl", b'{"ttl_seconds": "soon"}', name="wrong type"),
    refusal("POST", "/api/v1/shorten:batch", (400, 3, MALFORMED), "message", b"[]"),
    refusal("GET", "/api/v1/urls?page_size=many", (400, 3, MALFORMED), 'invalid value "many"'),
    refusal("PATCH", "/api/v1/urls/abc", (400, 3, MALFORMED), "conflicting", b'{"short_code": "other"}'),
    refusal("POST", "/api/v1/shorten", (413, 8, TOO_LARGE), "65,536", b" " * 65_537, name="large body"),
    refusal("POST", "/api/v1/shorten:batch?x=y", (413, 8, TOO_LARGE), "3,145,728", b" " * 3_145_729),
    refusal("POST", "/api/v1/ratelimit/check", (413, 8, TOO_LARGE), "65,536", b" " * 65_537),
    refusal("GET", "/api/v1/nothing", (404, 5, NO_ROUTE), "nothing is served"),
    refusal("PUT", "/api/v1/urls/abc", (404, 5, NO_ROUTE), "nothing is served", b"{}"),
    refusal("OPTIONS", "/api/v1/shorten:batch", (404, 5, NO_ROUTE), "nothing is served"),
    refusal("POST", "/abc", (405, 5, NO_ROUTE), "nothing is served", b"{}"),
    refusal("DELETE", "/", (405, 5, NO_ROUTE), "nothing is served"),
    refusal("POST", "/waypost.api.v1.LinkService/GetLink", (405, 5, NO_ROUTE), "nothing is served", b"{}"),
    refusal("PATCH", "/api/v1/urls/abc", (415, 3, MALFORMED), "must be JSON", b"{}", {"content-type": "text/plain"}),
    refusal(
        "POST",
        "/api/v1/shorten:batch",
        (403, 7, "ERROR_REASON_CROSS_SITE"),
        "another site",
        b"{}",
        {"sec-fetch-site": "cross-site"},
    ),
    refusal(
        "GET",
        "/abc",
        (400, 3, MALFORMED),
        "upgrade_failed",
        headers={"connection": "upgrade", "upgrade": "websocket"},
        name="web socket",
    ),
    refusal("GET", "/a%2Fb", (400, 3, MALFORMED), "path_normalization_failed"),
    refusal("GET", "/api/v1/urls/a%00b", (400, 3, MALFORMED), "path_normalization_failed"),
]


@pytest.mark.parametrize("accept", ["*/*", PROBLEM_TYPE])
@pytest.mark.parametrize("row", REFUSALS)
async def test_a_request_that_is_refused(mesh: Mesh, row: Refusal, accept: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.request(
            row.method, row.path, content=row.body, headers={**row.headers, "accept": accept, "x-correlation-id": "own"}
        )
    check = status.check_problem if accept == PROBLEM_TYPE else status.check_json
    answer = check(response, row.http_status, row.code, row.reason)
    assert row.hint in answer["message"]
    assert response.headers["x-correlation-id"] == "own"
    assert response.headers["server"] == "waypost"
    assert not mesh.links.calls
    assert not mesh.limits.calls
    assert not mesh.web.requests


@pytest.mark.parametrize(
    ("head", "http_status", "code", "reason"),
    [
        (b"GET /abc HTTP/1.1\r\n", 400, 3, MALFORMED),
        (b"OPTIONS * HTTP/1.1\r\nhost: h\r\nconnection: close\r\n", 404, 5, NO_ROUTE),
        (b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n", 404, 5, NO_ROUTE),
    ],
    ids=["no host", "asterisk", "connect"],
)
async def test_requests_that_no_client_library_sends(
    mesh: Mesh, head: bytes, http_status: int, code: int, reason: str
) -> None:
    plain = parse(await mesh.edge.raw(head + b"\r\n"))
    problem = parse(await mesh.edge.raw(head + b"accept: application/problem+json\r\n\r\n"))
    assert status.check_json(plain, http_status, code, reason) == status.check_problem(
        problem, http_status, code, reason
    )


@pytest.mark.parametrize(
    ("head", "http_status", "code", "reason", "hint"),
    [
        (b"GET /abc HTTP/1.0\r\nhost: h\r\n", 400, 3, MALFORMED, "low_version"),
        (b"POST /api HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n", 400, 3, MALFORMED, "transfer_encoding"),
        (b"GET /abc HTTP/1.1\r\nhost: h\r\nx_y: z\r\n", 400, 3, MALFORMED, "unexpected_underscore"),
        (b"GET /caf\xe9 HTTP/1.1\r\nhost: h\r\n", 400, 3, MALFORMED, "codec_error"),
        (b"G@T / HTTP/1.1\r\nhost: h\r\n", 400, 3, MALFORMED, "codec_error"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n", 400, 3, MALFORMED, "codec_error"),
        (b"GET / HTTP/1.1\r\nhost: h\r\n" + b"x: y\r\n" * 110, 431, 8, TOO_LARGE, "more than 100"),
    ],
    ids=["old version", "encoding", "underscore", "bytes", "method", "tls", "many headers"],
)
async def test_requests_whose_headers_are_not_read_are_told_in_json_whatever_they_accept(
    mesh: Mesh, head: bytes, http_status: int, code: int, reason: str, hint: str
) -> None:
    answer = parse(await mesh.edge.raw(b"%saccept: application/problem+json\r\n\r\n" % head))
    assert hint in status.check_json(answer, http_status, code, reason)["message"]


async def test_a_body_that_breaks_off(mesh: Mesh) -> None:
    head = b"POST /api/v1/shorten HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n"
    for accept, check in ((b"", status.check_json), (b"accept: application/problem+json\r\n", status.check_problem)):
        answer = parse(await mesh.edge.raw(head + accept + b"\r\n2\r\n{}\r\nzz\r\n"))
        check(answer, 400, 3, MALFORMED)


async def test_head_has_the_headers_of_the_error_alone(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        for accept in ("application/json", PROBLEM_TYPE):
            response = await client.head("/api/v1/urls/abc", headers={"accept": accept})
            assert (response.status_code, response.content) == (404, b"")
            assert response.headers["content-type"] == accept


def parse(answer: bytes) -> httpx.Response:
    """A whole HTTP/1.1 answer, read off the wire."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = [tuple(line.split(b": ", 1)) for line in lines]
    return httpx.Response(int(first.split(b" ")[1]), headers=headers, content=body)  # type: ignore[arg-type]


Get = Callable[[str], Awaitable[httpx.Response]]


@contextlib.asynccontextmanager
async def both_forms(edge: Edge) -> AsyncIterator[list[tuple[Get, Callable[..., dict[str, Any]]]]]:
    """Two ways of asking, each with the check of its answers."""
    async with edge.client() as plain, edge.client() as problems:
        problems.headers["accept"] = PROBLEM_TYPE
        yield [(plain.get, status.check_json), (problems.get, status.check_problem)]


@contextlib.asynccontextmanager
async def upstream(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], mesh: Mesh, folder: Path
) -> AsyncIterator[Edge]:
    """An edge all of whose upstreams are this one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    at = ("127.0.0.1", server.sockets[0].getsockname()[1])
    config = replace(mesh.edge.config, gateway=at, gateway_web=at, ratelimiter=at)
    try:
        async with edges.running(config, folder, brisk=True) as edge:
            yield edge
    finally:
        server.close()


async def test_upstreams_that_speak_another_language(mesh: Mesh, tmp_path: Path) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()

    async with upstream(babble, mesh, tmp_path) as edge, both_forms(edge) as forms:
        for path, name in (("/abc", "gateway_web"), ("/api/v1/urls/abc", "gateway")):
            for get, check in forms:
                response = await get(path)
                answer = check(response, 503, 14, DOWN)
                assert answer["details"][0]["metadata"] == {"dependency": name}
                assert response.headers["retry-after"] == "1"


async def test_upstreams_that_hang(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As one that is stopped with SIGSTOP does: the kernel takes connections for it.
    edges.hasten(
        monkeypatch, tmp_path, {"&json_timeout 10s": "&json_timeout 0.3s", " timeout: 5s\n": " timeout: 0.3s\n"}
    )

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    async with upstream(hang, mesh, tmp_path) as edge, both_forms(edge) as forms:
        for path in ("/abc", "/api/v1/urls/abc", "/api/v1/urls"):
            for get, check in forms:
                answer = check(await get(path), 504, 4, LATE)
                assert answer["details"][0]["metadata"] == {"timeout_ms": "300"}


async def test_an_answer_that_cannot_be_translated(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edges.hasten(monkeypatch, tmp_path, {"max_response_body_size: 33554432": "max_response_body_size: 1000"})

    async def large(*_: object) -> links_pb.Link:
        return links_pb.Link(original_url="x" * 2000)

    mesh.links.answers["GetLink"] = large
    async with edges.running(mesh.edge.config, tmp_path) as edge, both_forms(edge) as forms:
        for get, check in forms:
            response = await get("/api/v1/urls/abc")
            answer = check(response, 500, 13, "ERROR_REASON_INTERNAL")
            assert answer["details"][0]["metadata"]["correlation_id"] == response.headers["x-correlation-id"]


async def test_an_edge_that_is_short_of_memory(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edges.hasten(monkeypatch, tmp_path, {"max_heap_size_bytes: 536870912": "max_heap_size_bytes: 1000000"})
    async with edges.running(mesh.edge.config, tmp_path) as edge, both_forms(edge) as forms, edge.channel() as channel:
        await edge.until_stat("overload.envoy.overload_actions.stop_accepting_requests.active", bool)
        for path in ("/abc", "/api/v1/urls/abc"):
            for get, check in forms:
                response = await get(path)
                answer = check(response, 503, 14, DOWN)
                assert answer["details"][0]["metadata"] == {"dependency": "envoy"}
                assert response.headers["retry-after"] == "1"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await links_grpc.LinkServiceStub(channel).GetLink(links_pb.GetLinkRequest())
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    _, info = status.from_error(raised.value)
    assert (info.reason, info.metadata["dependency"]) == (DOWN, "envoy")


async def test_requests_that_arrive_too_slowly(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edges.hasten(monkeypatch, tmp_path, {"request_timeout: 10s": "request_timeout: 0.3s"})
    head = b"POST /api/v1/shorten:batch HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n"
    async with edges.running(mesh.edge.config, tmp_path) as edge:
        status.check_json(parse(await edge.raw(head + b"\r\n{")), 408, 4, LATE)
        asking = head + b"accept: application/problem+json\r\n\r\n{"
        status.check_problem(parse(await edge.raw(asking)), 408, 4, LATE)


GRPC = {"content-type": "application/grpc", "te": "trailers"}
MESSAGE = b"\0\0\0\0\0"


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/waypost.api.v1.Nothing/Get", 12, "ERROR_REASON_UNKNOWN_METHOD"),
        ("/waypost.api.v1.LinkService/Get%00Link", 3, MALFORMED),
        ("/waypost.api.v1.LinkService%2FGetLink", 3, MALFORMED),
    ],
)
async def test_grpc_callers_are_told_in_trailers(mesh: Mesh, path: str, code: int, reason: str) -> None:
    async with mesh.edge.client(http2=True) as client:
        # Whatever they accept.
        for accept in ({}, {"accept": PROBLEM_TYPE}):
            response = await client.post(path, content=MESSAGE, headers={**GRPC, **accept})
            assert (response.status_code, response.headers["content-type"]) == (200, "application/grpc")
            assert (response.headers["grpc-status"], response.content) == (str(code), b"")
            found = status.from_text(response.headers[status.DETAILS_KEY])
            assert (found.code, status.info_of(found).reason) == (code, reason)
    assert not mesh.links.calls
