"""The web port: redirects byte for byte, pages for people, JSON for programs, and nothing odd for odd requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from gateway.redirects import NOT_FOUND, Answer
from gateway.web import RedirectMetrics, web_app
from waypost.errors import DependencyUnavailable, Overloaded
from waypost.model import LinkState
from waypost.rpc.health import Health, Phase
from waypost.rpc.http import HttpServer
from waypost.rpc.ports import listen
from waypost.telemetry import Metrics

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LOCATION = "https://example.org/a%2Fb/%zz;p?q=1&r=%20&s=[]|{}^`'\"<>#frag#%C3%A9"


class World:
    """The web application with a resolver that knows a few links."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {
            **{f"link{status}": Answer(status, LOCATION, LinkState.ACTIVE) for status in (301, 302, 307, 308)},
            "brief12": Answer(302, LOCATION, LinkState.ACTIVE, timedelta(seconds=1)),
            "expired": Answer(410, state=LinkState.EXPIRED),
            "deleted": Answer(410, state=LinkState.DELETED),
            "blk1234": Answer(451, state=LinkState.BLOCKED),
        }
        self.errors: dict[str, Exception] = {
            "away123": DependencyUnavailable("postgres", retry_after=1.2),
            "busy123": Overloaded(10),
            "defect1": RuntimeError("the secret cause"),
        }
        self.asked: list[str] = []
        self.health = Health("gateway", [], [], Metrics("gateway"))
        self.registry = CollectorRegistry()
        self.app: ASGIApp = web_app(
            self.resolve, self.health, RedirectMetrics(self.registry), "https://go.example/<&'\">"
        )

    async def resolve(self, short_code: str) -> Answer:
        """As `LinkHandlers.resolve`."""
        self.asked.append(short_code)
        if short_code in self.errors:
            raise self.errors[short_code]
        return self.answers.get(short_code, NOT_FOUND)

    async def request(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        """One request, straight to the application."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://go.example") as client:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers={"accept": "*/*"} | sent)

    def counted(self, status: int) -> float:
        """How many short links were answered so."""
        return self.registry.get_sample_value("redirects_total", {"status": str(status)}) or 0.0


@pytest.fixture
async def world() -> World:
    return World()


def detail(response: httpx.Response, kind: str) -> dict[str, Any]:
    """The detail of a `google.rpc.Status` that has this type."""
    (found,) = [d for d in response.json()["details"] if d["@type"] == f"type.googleapis.com/google.rpc.{kind}"]
    assert isinstance(found, dict)
    return found


# Redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
async def test_redirect(world: World, status: int, accept: str) -> None:
    response = await world.request(f"/link{status}", accept=accept)
    assert response.status_code == status
    assert dict(response.headers) == {
        "location": LOCATION,
        "cache-control": "private, no-store",
        "content-length": "0",
    }
    assert [value for name, value in response.headers.raw if name == b"location"] == [LOCATION.encode()]
    assert response.content == b""
    assert world.asked == [f"link{status}"]
    assert world.counted(status) == 1


@pytest.mark.parametrize("query", ["?", "?a=b", "?url=https://evil.example", "?/%2F#", "?%00"])
async def test_query_string_is_ignored(world: World, query: str) -> None:
    response = await world.request(f"/link302{query}")
    assert (response.status_code, response.headers["location"]) == (302, LOCATION)
    assert world.asked == ["link302"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_slash_at_the_end_changes_nothing(world: World, status: int) -> None:
    response = await world.request(f"/link{status}/", host="evil.example")
    assert (response.status_code, response.headers["location"]) == (status, LOCATION)


# What stands in place of a redirect


PROBLEMS = [
    ("unknown", 404, 5, "ERROR_REASON_LINK_NOT_FOUND", "No such link"),
    ("expired", 410, 9, "ERROR_REASON_LINK_EXPIRED", "This link is gone"),
    ("deleted", 410, 9, "ERROR_REASON_LINK_DELETED", "This link is gone"),
    ("blk1234", 451, 7, "ERROR_REASON_LINK_BLOCKED", "This link is blocked"),
    ("away123", 503, 14, "ERROR_REASON_DEPENDENCY_UNAVAILABLE", "One moment, please"),
    ("busy123", 503, 8, "ERROR_REASON_OVERLOADED", "One moment, please"),
]


@pytest.mark.parametrize(("code", "status", "grpc", "reason", "title"), PROBLEMS)
async def test_program_gets_a_status(world: World, code: str, status: int, grpc: int, reason: str, title: str) -> None:
    response = await world.request(f"/{code}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"code", "message", "details"}
    assert body["code"] == grpc
    info = detail(response, "ErrorInfo")
    assert (info["reason"], info["domain"]) == (reason, "waypost")
    assert world.counted(status) == 1
    if status < 500:
        assert info["metadata"] == {"short_code": code}


@pytest.mark.parametrize(("code", "status", "grpc", "reason", "title"), PROBLEMS)
async def test_browser_gets_a_page(world: World, code: str, status: int, grpc: int, reason: str, title: str) -> None:
    response = await world.request(f"/{code}", accept=BROWSER)
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<title>{title}</title>" in response.text
    # Nothing of the request or of the error is in the page.
    assert code not in response.text
    assert "postgres" not in response.text


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
@pytest.mark.parametrize("code", [problem[0] for problem in PROBLEMS] + ["defect1"])
async def test_problem_is_kept_by_nobody(world: World, code: str, accept: str) -> None:
    with capture_logs():
        headers = (await world.request(f"/{code}", accept=accept)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-robots-tag"] == "noindex"
    assert headers["vary"] == "accept"
    assert "location" not in headers


async def test_page_may_do_nothing(world: World) -> None:
    for path in ("/unknown", "/"):
        headers = (await world.request(path, accept=BROWSER)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
@pytest.mark.parametrize(("code", "seconds"), [("away123", "2"), ("busy123", "1")])
async def test_who_comes_in_vain_is_told_when_to_come_again(world: World, code: str, seconds: str, accept: str) -> None:
    response = await world.request(f"/{code}", accept=accept)
    assert response.headers["retry-after"] == seconds


async def test_only_what_passes_says_when_to_come_again(world: World) -> None:
    for code in ("unknown", "expired", "blk1234"):
        assert "retry-after" not in (await world.request(f"/{code}")).headers


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
async def test_defect_is_told_to_the_log_only(world: World, accept: str) -> None:
    with capture_logs() as logs:
        response = await world.request("/defect1", accept=accept, x_correlation_id="call-1")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "RuntimeError" not in str(response.headers) + response.text
    (line,) = logs
    assert (line["log_level"], line["short_code"], line["correlation_id"]) == ("error", "defect1", "call-1")
    assert line["exc_info"]
    if accept != BROWSER:
        assert detail(response, "ErrorInfo")["metadata"] == {"correlation_id": "call-1"}
        assert response.json()["code"] == 13
    assert world.counted(500) == 1


async def test_defect_is_found_in_the_log_without_an_id_from_outside(world: World) -> None:
    for headers in ({}, {"x_correlation_id": "not an id"}):
        with capture_logs() as logs:
            response = await world.request("/defect1", **headers)
        told = detail(response, "ErrorInfo")["metadata"]["correlation_id"]
        assert told == logs[0]["correlation_id"] != "not an id"


# Other paths


async def test_front_page(world: World) -> None:
    response = await world.request("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "https://go.example/&lt;&amp;&#x27;&quot;&gt;/api/v1/shorten" in response.text
    assert "<&" not in response.text


async def test_alive_whatever_else(world: World) -> None:
    for phase in Phase:
        world.health.phase = phase
        response = await world.request("/healthz")
        assert (response.status_code, response.json()) == (200, {"status": "alive"})
        assert response.headers["cache-control"] == "no-store"


async def test_ready_only_while_serving(world: World) -> None:
    statuses = {}
    for phase in Phase:
        world.health.phase = phase
        response = await world.request("/readyz")
        assert response.headers["cache-control"] == "no-store"
        body = response.json()
        assert (body["service"], body["checks"]) == ("gateway", {})
        statuses[response.status_code, body["status"]] = phase
    assert statuses == {
        (503, "starting"): Phase.STARTING,
        (200, "ok"): Phase.SERVING,
        (503, "draining"): Phase.DRAINING,
    }


async def test_what_browsers_and_robots_ask_for(world: World) -> None:
    icon = await world.request("/favicon.ico")
    assert (icon.status_code, icon.content) == (204, b"")
    robots = await world.request("/robots.txt")
    assert robots.status_code == 200
    assert robots.headers["content-type"] == "text/plain; charset=utf-8"
    assert "User-agent: *" in robots.text.splitlines()
    assert world.asked == []


@pytest.mark.parametrize(
    "path", ["/a/b", "/link302/x", "/link302//", "//link302", "/a/b/c/d", "/api/v1/none", "/x/../y/z"]
)
async def test_no_such_path(world: World, path: str) -> None:
    response = await world.request(f"http://go.example{path}")
    assert response.status_code == 404
    assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_LINK_NOT_FOUND"
    page = await world.request(f"http://go.example{path}", accept=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert world.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/link302", "/", "/healthz", "/readyz", "/favicon.ico", "/robots.txt"])
async def test_other_methods_are_not_served(world: World, path: str, method: str) -> None:
    response = await world.request(path, method)
    assert response.status_code == 405
    assert {name.strip() for name in response.headers["allow"].split(",")} == {"GET", "HEAD"}
    assert response.json() == {"code": 12, "message": f"{method} is not served here", "details": []}
    assert world.asked == []


@pytest.mark.parametrize("host", ["", "[", "evil.example/x?y#", "a b", "\u00e4", ":"])
async def test_host_header_is_of_no_account(world: World, host: str) -> None:
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

    await world.app(scope, receive, send)
    assert sent[0]["status"] == 404
    assert b'"short_code":"a/b"' in sent[1]["body"]


# Behind a real server


@dataclass(frozen=True, slots=True)
class Answered:
    """A response as it came over the wire."""

    status: int
    headers: list[bytes]
    body: bytes


@asynccontextmanager
async def server(world: World) -> AsyncIterator[int]:
    """The application behind the server that it has in production; its port."""
    sock = listen("127.0.0.1", 0)
    http = HttpServer(world.app, drain_seconds=1)
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


async def test_head_is_get_without_its_body(world: World) -> None:
    world.health.phase = Phase.SERVING
    paths = [
        f"/{code}" for code in (*world.answers, "unknown", "away123", "busy123", "healthz", "robots.txt", "a/b", "")
    ]
    async with server(world) as port:
        for path in paths:
            for accept in (b"*/*", BROWSER.encode()):
                get = await send(port, request(path.encode(), accept=accept))
                head = await send(port, request(path.encode(), b"HEAD", accept))
                assert (head.status, head.headers, head.body) == (get.status, get.headers, b""), path
                assert b"content-length: %d" % len(get.body) in get.headers


async def test_location_is_the_same_bytes_on_the_wire(world: World) -> None:
    async with server(world) as port:
        answered = await send(port, request(b"/link302?x=1"))
    assert answered.status == 302
    assert answered.headers == sorted(
        [
            b"location: " + LOCATION.encode(),
            b"cache-control: private, no-store",
            b"content-length: 0",
            b"connection: close",
        ]
    )


async def test_odd_paths(world: World) -> None:
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
        b"/link302+": 404,
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
    async with server(world) as port:
        for path in odd:
            for accept in (b"*/*", BROWSER.encode()):
                answered = await send(port, request(path, accept=accept))
                found[path] = answered.status
                assert not any(header.lower().startswith(b"set-cookie") for header in answered.headers)
                if accept != b"*/*":
                    assert b"<script" not in answered.body
    assert found == odd


async def test_requests_that_are_none(world: World) -> None:
    async with server(world) as port:
        for line in (b"GET  HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /\0 HTTP/1.1", b"garbage"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ")), line
        assert (await send(port, request(b"/link302"))).status == 302
