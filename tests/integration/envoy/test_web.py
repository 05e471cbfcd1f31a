"""Redirects and pages: passed on as they are, and their answers too."""

from __future__ import annotations

import pytest

from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")


def get(target: bytes, method: bytes = b"GET") -> bytes:
    return b"%s %s HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % (method, target)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/abc",
        b"/abc+",
        b"/abc%2B",
        b"/abc+?x=%2B+&y",
        b"/a-_Z9",
        b"/healthz",
        b"/docs",
        b"/docs/assets/style.css?v=1",
        b"/openapi.json",
        b"/favicon.ico",
        b"/api2",
        b"/a/b",
        b"/%E9%20",
        b"/abc?",
        b"/abc?u=http%3A%2F%2Fx%2F..%2f&a=//&b=%zz&c=%5C+%2B",
        b"/abc?redirect_status=1&a=b;c='\"<>{}|^`",
    ],
)
async def test_targets_arrive_byte_for_byte(mesh: Mesh, target: bytes) -> None:
    answer = await mesh.edge.raw(get(target))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert mesh.web.targets == [target]
    assert not mesh.links.calls


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        (b"//abc", b"/abc"),
        (b"/./abc", b"/abc"),
        (b"/x/../abc?x=/../y", b"/abc?x=/../y"),
        (b"/%61bc", b"/abc"),
        (b"/x%2e%2e/abc", b"/x../abc"),
        (b"/x/%2e%2e/abc", b"/abc"),
        (b"/a\\b", b"/a/b"),
    ],
)
async def test_paths_are_normalised(mesh: Mesh, sent: bytes, arrives: bytes) -> None:
    await mesh.edge.raw(get(sent))
    assert mesh.web.targets == [arrives]


@pytest.mark.parametrize("target", [b"/x/../api/v1/nope", b"//api/v1/nope", b"/%2e%2e/api/v1/nope", b"/%61pi/v1/nope"])
async def test_no_spelling_of_the_api_gets_past_its_routes(mesh: Mesh, target: bytes) -> None:
    answer = await mesh.edge.raw(get(target))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"ERROR_REASON_ROUTE_NOT_FOUND" in answer
    assert not mesh.web.requests


@pytest.mark.parametrize("target", [b"/a%2Fb", b"/a%5cb", b"/api%2Fv1%2Fshorten", b"/caf\xe9", b"/abc#part"])
async def test_ambiguous_paths_are_refused(mesh: Mesh, target: bytes) -> None:
    answer = await mesh.edge.raw(get(target))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"ERROR_REASON_MALFORMED_REQUEST" in answer
    assert not mesh.web.requests


@pytest.mark.parametrize(
    "location",
    [
        b"https://example.com/?a=b&c=%zz#frag",
        b"https://example.com/caf\xc3\xa9?\xff",
        b"https://example.com/ a  b<\"'>{}|\\^`",
        b"https://example.com//../%2e%2e/%2F",
        b"https://example.com/" + b"x" * 8000,
    ],
)
@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_locations_pass_byte_for_byte(mesh: Mesh, location: bytes, code: int) -> None:
    head = b"HTTP/1.1 %d X\r\nlocation: %s\r\nx-correlation-id: own\r\ncontent-length: 0\r\n\r\n"
    mesh.web.answer = head % (code, location)
    answer = await mesh.edge.raw(get(b"/abc"))
    lines = answer.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % code)
    assert b"location: " + location in lines
    # The service's own word on the id is not overruled, nor doubled.
    assert [line for line in lines if line.startswith(b"x-correlation-id")] == [b"x-correlation-id: own"]


@pytest.mark.parametrize("code", [404, 410, 451, 503])
async def test_answers_of_the_service_are_its_own(mesh: Mesh, code: int) -> None:
    mesh.web.answer = b"HTTP/1.1 %d X\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\npage" % code
    async with mesh.edge.client() as client:
        response = await client.get("/abc")
    assert (response.status_code, response.text, response.headers["content-type"]) == (code, "page", "text/html")
    assert len(mesh.web.requests) == 1


async def test_head_is_head(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        response = await client.head("/abc")
    assert (response.status_code, response.content) == (200, b"")
    assert mesh.web.requests[0].startswith(b"HEAD /abc ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods(mesh: Mesh, method: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.request(method, "/abc")
    status.check_json(response, 405, 5, "ERROR_REASON_ROUTE_NOT_FOUND")
    assert response.headers["allow"] == "GET, HEAD"
    assert not mesh.web.requests


async def test_http2_with_prior_knowledge(mesh: Mesh) -> None:
    async with mesh.edge.client(http2=True) as client:
        response = await client.get("/abc?x=%zz")
    assert response.http_version == "HTTP/2"
    assert response.json()["target"] == "/abc?x=%zz"


async def test_a_redirect_has_its_deadline(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        headers = dict((await client.get("/abc")).json()["headers"])
    assert 4_000 < int(headers["x-envoy-expected-rq-timeout-ms"]) <= 5_000
