"""The web port: which path leads where, and nothing odd for odd requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.html import Document
from tests.support.web import BROWSER, URL, Web, detail
from waypost.rpc.health import Phase
from waypost.rpc.http import HttpServer
from waypost.rpc.ports import listen


@pytest.fixture
async def web() -> Web:
    return Web()


async def test_front_page() -> None:
    response = await Web("https://go.example/<&'\">").request("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "https://go.example/<&'\">/api/v1/shorten" in Document(response.text).one("pre").text
    assert "<&" not in response.text


async def test_alive_whatever_else(web: Web) -> None:
    for phase in Phase:
        web.health.phase = phase
        response = await web.request("/healthz")
        assert (response.status_code, response.json()) == (200, {"status": "alive"})
        assert response.headers["cache-control"] == "no-store"


async def test_ready_only_while_serving(web: Web) -> None:
    statuses = {}
    for phase in Phase:
        web.health.phase = phase
        response = await web.request("/readyz")
        assert response.headers["cache-control"] == "no-store"
        body = response.json()
        assert (body["service"], body["checks"]) == ("gateway", {})
        statuses[response.status_code, body["status"]] = phase
    assert statuses == {
        (503, "starting"): Phase.STARTING,
        (200, "ok"): Phase.SERVING,
        (503, "draining"): Phase.DRAINING,
    }


async def test_what_browsers_and_robots_ask_for(web: Web) -> None:
    icon = await web.request("/favicon.ico")
    assert (icon.status_code, icon.content) == (204, b"")
    robots = await web.request("/robots.txt")
    assert robots.status_code == 200
    assert robots.headers["content-type"] == "text/plain; charset=utf-8"
    assert "User-agent: *" in robots.text.splitlines()
    assert web.reader.asked == []


@pytest.mark.parametrize(
    "path", ["/a/b", "/link302/x", "/link302//", "//link302", "/a/b/c/d", "/api/v1/none", "/x/../y/z"]
)
async def test_no_such_path(web: Web, path: str) -> None:
    response = await web.request(f"http://go.example{path}")
    assert response.status_code == 404
    assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_ROUTE_NOT_FOUND"
    page = await web.request(f"http://go.example{path}", accept=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert web.reader.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/link302", "/", "/healthz", "/readyz", "/favicon.ico", "/robots.txt"])
async def test_other_methods_are_not_served(web: Web, path: str, method: str) -> None:
    response = await web.request(path, method)
    assert response.status_code == 405
    assert {name.strip() for name in response.headers["allow"].split(",")} == {"GET", "HEAD"}
    assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_ROUTE_NOT_FOUND"
    assert web.reader.asked == []


@pytest.mark.parametrize("host", ["", "[", "evil.example/x?y#", "a b", "\u00e4", ":"])
async def test_host_header_is_of_no_account(web: Web, host: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/a/b",
        "raw_path": b"/a/b",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "headers": [(b"host", host.encode("latin-1"))],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await web.app(scope, receive, send)
    assert sent[0]["status"] == 404
    assert b"ERROR_REASON_ROUTE_NOT_FOUND" in sent[1]["body"]


# Behind a real server


@dataclass(frozen=True, slots=True)
class Answered:
    """A response as it came over the wire."""

    status: int
    headers: list[bytes]
    body: bytes


@asynccontextmanager
async def server(web: Web) -> AsyncIterator[int]:
    """The application behind the server that it has in production; its port."""
    sock = listen("127.0.0.1", 0)
    http = HttpServer(web.app, drain_seconds=1)
    task = asyncio.create_task(http.serve(sockets=[sock]))
    try:
        yield sock.getsockname()[1]
    finally:
        http.should_exit = True
        await task


async def send(port: int, request: bytes) -> Answered:
    """Sends bytes, reads to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    lines = head.split(b"\r\n")
    return Answered(int(lines[0].split()[1]), sorted(lines[1:]), body)


def request(path: bytes, method: bytes = b"GET", accept: bytes = b"*/*") -> bytes:
    return (
        method + b" " + path + b" HTTP/1.1\r\nHost: go.example\r\nAccept: " + accept + b"\r\nConnection: close\r\n\r\n"
    )


async def test_head_is_get_without_its_body(web: Web) -> None:
    web.health.phase = Phase.SERVING
    others = ("unknown", "away123", "busy123", "link302+", "blk1234+", "healthz", "robots.txt", "docs", "a/b", "")
    # Of links with a number of clicks the two are not the same, as they should be.
    paths = [f"/{code}" for code in (*(web.reader.links.keys() - {"limited", "limfwd1"}), *others)]
    async with server(web) as port:
        for path in paths:
            for accept in (b"*/*", BROWSER.encode()):
                get = await send(port, request(path.encode(), accept=accept))
                head = await send(port, request(path.encode(), b"HEAD", accept))
                assert (head.status, head.headers, head.body) == (get.status, get.headers, b""), path
                assert b"content-length: %d" % len(get.body) in get.headers


async def test_location_is_the_same_bytes_on_the_wire(web: Web) -> None:
    async with server(web) as port:
        answered = await send(port, request(b"/link302?x=1"))
    assert answered.status == 302
    assert answered.headers == sorted(
        [
            b"location: " + URL.encode(),
            b"cache-control: private, no-store",
            b"content-length: 0",
            b"connection: close",
        ]
    )


async def test_odd_paths(web: Web) -> None:
    found = {}
    odd = {
        b"/%2e%2e": 404,
        b"/..": 404,
        b"/../etc/passwd": 404,
        b"/%2e%2e%2fetc%2fpasswd": 404,
        b"/link302%2Fb": 404,
        b"/link302%2f": 302,
        b"/link302%0a": 404,
        b"/link302%00": 404,
        b"/%00": 404,
        b"/%ff%fe": 404,
        b"/%c3%28": 404,
        b"/%": 404,
        b"/%zz": 404,
        b"/%ed%a0%80": 404,
        b"/%0d%0aset-cookie:%20a=b": 404,
        b"/lin%6b302": 302,
        b"/LINK302": 404,
        b"/link302+": 200,
        b"/link302%2B": 200,
        b"/link302++": 404,
        b"/link302;x": 404,
        b"/link302%3Fa": 404,
        b"/link302?" + b"x" * 20_000: 302,
        b"/link302#frag": 302,
        b"/" + b"x" * 20_000: 404,
        b"/" + b"%00" * 5_000: 404,
        b"/" + b"a/" * 5_000: 404,
        b"http://evil.example/link302": 302,
        b"/<script>alert(1)</script>": 404,
    }
    async with server(web) as port:
        for path in odd:
            for accept in (b"*/*", BROWSER.encode()):
                answered = await send(port, request(path, accept=accept))
                found[path] = answered.status
                assert not any(header.lower().startswith(b"set-cookie") for header in answered.headers)
                if accept != b"*/*":
                    assert b"<script" not in answered.body
    assert found == odd


async def test_requests_that_are_none(web: Web) -> None:
    async with server(web) as port:
        for line in (b"GET  HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /\0 HTTP/1.1", b"garbage"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ")), line
        assert (await send(port, request(b"/link302"))).status == 302
