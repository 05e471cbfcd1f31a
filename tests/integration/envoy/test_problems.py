"""Errors of the services, as who calls has asked for them: as a google.rpc.Status or as a problem of RFC 9457."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.support.problems import ASKING, NASTY, NOT_ASKING
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.rpc.problem import PROBLEM_TYPE

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBLEM = {"accept": PROBLEM_TYPE}
REASON = "ERROR_REASON_LINK_NOT_FOUND"


def failing(
    code: grpc.StatusCode = grpc.StatusCode.NOT_FOUND,
    message: str = "",
    *,
    early: bool = False,
    **metadata: str,
) -> Any:
    """A method that ends with this status, of `REASON`; `early`: after it has begun its answer."""

    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if early:
            await context.send_initial_metadata((("x-early", "1"),))
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1))
        await status.abort(context, code, status.info(REASON, **metadata), retry, message=message)

    return fail


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_every_code(mesh: Mesh, code: grpc.StatusCode) -> None:
    mesh.links.answers["GetLink"] = failing(code)
    number: int = code.value[0]
    async with mesh.edge.client() as client:
        plain = await client.get("/api/v1/urls/abc")
        problem = await client.get("/api/v1/urls/abc", headers=PROBLEM)
    first = status.check_json(plain, status.HTTP_STATUS[number], number, REASON)
    assert first == status.check_problem(problem, status.HTTP_STATUS[number], number, REASON)
    assert len(first["details"]) == 2


@pytest.mark.parametrize("early", [False, True], ids=["at once", "early"])
@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
async def test_whatever_the_message_says(mesh: Mesh, early: bool, http2: bool) -> None:
    async with mesh.edge.client(http2=http2) as client:
        for text in NASTY:
            mesh.links.answers["GetLink"] = failing(message=text, early=early, key=text, reason_of=text)
            plain = status.check_json(await client.get("/api/v1/urls/abc"), 404, 5, REASON)
            response = await client.get("/api/v1/urls/abc", headers=PROBLEM)
            assert plain == status.check_problem(response, 404, 5, REASON)
            assert plain["message"] == text
            assert plain["details"][0]["metadata"] == {"key": text, "reason_of": text}
            assert response.text.startswith('{"type":"about:blank","title":"Not Found","status":404,"detail":"')


async def test_an_error_as_large_as_its_trailers_can_be(mesh: Mesh) -> None:
    mesh.links.answers["GetLink"] = failing(message='"\\' * 1000, key="<" * 2000)
    async with mesh.edge.client() as client:
        plain = status.check_json(await client.get("/api/v1/urls/abc"), 404, 5, REASON)
        problem = await client.get("/api/v1/urls/abc", headers=PROBLEM)
    assert len(problem.content) > 16_000
    assert plain == status.check_problem(problem, 404, 5, REASON)


@pytest.mark.parametrize("accept", ASKING)
async def test_who_asks_gets_problems_of_services_and_of_the_edge(mesh: Mesh, accept: str) -> None:
    mesh.links.answers["GetLink"] = failing()
    async with mesh.edge.client() as client:
        for path in ("/api/v1/urls/abc", "/api/nowhere"):
            response = await client.get(path, headers={"accept": accept})
            assert response.headers["content-type"] == PROBLEM_TYPE


@pytest.mark.parametrize("accept", NOT_ASKING)
async def test_who_does_not_ask_gets_neither(mesh: Mesh, accept: str) -> None:
    mesh.links.answers["GetLink"] = failing()
    async with mesh.edge.client() as client:
        for path in ("/api/v1/urls/abc", "/api/nowhere"):
            response = await client.get(path, headers={"accept": accept})
            assert response.headers["content-type"] == "application/json"


async def test_a_wish_may_be_spread_over_several_headers(mesh: Mesh) -> None:
    mesh.links.answers["GetLink"] = failing()
    async with mesh.edge.client() as client:
        del client.headers["accept"]
        for path in ("/api/v1/urls/abc", "/api/nowhere"):
            response = await client.get(path, headers=[("accept", "application/json"), ("Accept", PROBLEM_TYPE)])
            assert response.headers["content-type"] == PROBLEM_TYPE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/shorten"),
        ("POST", "/api/v1/shorten:batch"),
        ("GET", "/api/v1/urls"),
        ("PATCH", "/api/v1/urls/abc"),
        ("DELETE", "/api/v1/urls/abc"),
        ("POST", "/api/v1/urls/abc:undelete"),
        ("POST", "/api/v1/ratelimit/check"),
    ],
)
async def test_on_every_route_and_only_for_errors(mesh: Mesh, method: str, path: str) -> None:
    body = b"{}" if method in ("POST", "PATCH") else b""
    async with mesh.edge.client() as client:
        good = await client.request(method, path, content=body, headers=PROBLEM)
        assert (good.status_code, good.headers["content-type"]) == (200, "application/json")
        assert good.content == (await client.request(method, path, content=body)).content
        for script in (mesh.links, mesh.limits):
            script.answers = {call.method: failing() for call in script.calls}
        status.check_problem(await client.request(method, path, content=body, headers=PROBLEM), 404, 5, REASON)
        status.check_json(await client.request(method, path, content=body), 404, 5, REASON)


async def test_what_comes_with_an_error_stays(mesh: Mesh) -> None:
    async def fail(request: links_pb.GetLinkRequest, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.send_initial_metadata((("retry-after", "7"), ("x-correlation-id", "own")))
        await failing(grpc.StatusCode.UNAVAILABLE)(request, context)

    mesh.links.answers["GetLink"] = fail
    async with mesh.edge.client() as client:
        response = await client.get("/api/v1/urls/abc", headers=PROBLEM)
    status.check_problem(response, 503, 14, REASON)
    assert (response.headers["retry-after"], response.headers["x-correlation-id"]) == ("7", "own")
    assert not [name for name in response.headers if name.startswith(("grpc-", "x-envoy-"))]


async def test_an_error_without_details_is_still_a_problem(mesh: Mesh) -> None:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(grpc.StatusCode.UNKNOWN, "")

    mesh.links.answers["GetLink"] = fail
    async with mesh.edge.client() as client:
        response = await client.get("/api/v1/urls/abc", headers=PROBLEM)
    assert response.headers["content-type"] == PROBLEM_TYPE
    assert response.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "",
        "code": 2,
        "message": "",
        "details": [],
    }


async def test_pages_are_their_services_own(mesh: Mesh) -> None:
    for kind in (b"text/html", b"application/json", PROBLEM_TYPE.encode()):
        body = b'{"code":5,"message":"gone","details":[]}'
        head = b"HTTP/1.1 410 X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))
        mesh.web.answer = head + body
        async with mesh.edge.client() as client:
            response = await client.get("/abc", headers=PROBLEM)
        assert (response.content, response.headers["content-type"]) == (body, kind.decode())
