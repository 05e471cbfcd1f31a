"""What the edge makes of credentials, and of headers that only the edge may set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from tests.integration.envoy.upstreams import Seen
from tests.support.waiting import until
from waypost.api.v1.workspace_service_pb2 import Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")

Headers = Sequence[tuple[str, str | bytes]]

ME = "/api/v1/me"
CALLER = "/waypost.api.v1.WorkspaceService/GetCaller"
EMPTY_MESSAGE = b"\0\0\0\0\0"
GRPC: Headers = [("content-type", "application/grpc"), ("te", "trailers")]


def raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers as httpx takes those of any bytes."""
    return [(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers]


async def ask(mesh: Mesh, headers: Headers, *, how: str = "JSON over HTTP/1.1") -> httpx.Response:
    """GetCaller with these headers, however it is called."""
    async with mesh.edge.client(http2="HTTP/2" in how) as client:
        if how.startswith("gRPC"):
            return await client.post(CALLER, content=EMPTY_MESSAGE, headers=raw([*GRPC, *headers]))
        return await client.get(ME, headers=raw(headers))


async def arrived(mesh: Mesh, headers: Headers, how: str) -> Seen:
    """What the service sees of it."""
    mesh.links.reset()
    response = await ask(mesh, headers, how=how)
    assert (response.status_code, response.headers.get("grpc-status", "0")) == (200, "0"), response.text
    (call,) = mesh.links.calls
    return call


@pytest.fixture(params=["JSON over HTTP/1.1", "JSON over HTTP/2", "gRPC over HTTP/2"])
def how(request: pytest.FixtureRequest) -> str:
    way: str = request.param
    return way


@pytest.mark.parametrize(
    "value",
    [
        "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
        "bearer  x",
        "Bearer",
        "Basic dXNlcjpwYXNzd29yZA==",
        "wp_abc.def",
        ",",
        'Digest username="a, b", realm="x"',
        "Bearer a, Bearer b",
        "%00%0A",
        "x" * 6000,
    ],
)
async def test_credentials_arrive_as_they_were_sent(mesh: Mesh, how: str, value: str) -> None:
    for name in ("authorization", "x-api-key", "x-workspace"):
        assert (await arrived(mesh, [(name, value)], how)).values(name) == [value]


async def test_an_empty_credential_arrives_as_such(mesh: Mesh, how: str) -> None:
    assert (await arrived(mesh, [("x-api-key", "")], how)).values("x-api-key") == [""]


async def test_two_keys_arrive_as_two(mesh: Mesh, how: str) -> None:
    """The service refuses them: which of them counts is nobody's guess."""
    for name in ("x-api-key", "x-workspace"):
        for pair in (["a", "b"], ["b", "a"], ["", "a"], ["a", "a"]):
            call = await arrived(mesh, [(name, pair[0]), (name.title(), pair[1])], how)
            assert call.values(name) == pair


async def test_two_tokens_arrive_as_one_that_is_none(mesh: Mesh, how: str) -> None:
    """Envoy joins what HTTP allows once; no token has a comma."""
    call = await arrived(mesh, [("authorization", "Bearer a"), ("Authorization", "Bearer b")], how)
    assert call.values("authorization") == ["Bearer a,Bearer b"]


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
@pytest.mark.parametrize("value", [b"Bearer caf\xe9", "wp_abc.dé".encode(), b"a\tb", b"wp_abc.def\xc2\xa0"])
async def test_bytes_that_no_credential_has_are_refused(mesh: Mesh, how: str, name: str, value: bytes) -> None:
    response = await ask(mesh, [(name, value)], how=how)
    if how.startswith("gRPC"):
        assert response.headers["grpc-status"] == "3"
        answer = status.from_text(response.headers["grpc-status-details-bin"])
        assert status.info_of(answer).reason == "ERROR_REASON_MALFORMED_REQUEST"
    else:
        told = status.check_json(response, 400, 3, "ERROR_REASON_MALFORMED_REQUEST")
        assert f"{name}: bytes that no" in told["message"]
    assert not mesh.links.calls


FORGED = [
    [("x-waypost-edge", "0")],
    [("X-Waypost-Edge", "0"), ("X-WAYPOST-EDGE", "2")],
    [("x-waypost-edge", "")],
    [("x-waypost-edge", "1"), ("x-waypost-edge", "1")],
    [("x-waypost-principal", "key:root"), ("X-Waypost-Workspace", "other"), ("x-waypost-", "x")],
    [("x-forwarded-for", "10.0.0.1"), ("X-Forwarded-For", "10.0.0.2"), ("X-FORWARDED-FOR", "")],
    [("x-user-id", "root"), ("forwarded", "for=10.0.0.1"), ("x-real-ip", "10.0.0.1")],
]


def check_ours(call: Seen) -> None:
    """Of what only the edge may say there is what the edge says, once, and nothing besides."""
    ours = {
        name: call.values(name) for name, _ in call.pairs if name.startswith(("x-waypost", "x-forwarded-", "x-user"))
    }
    assert ours == {"x-waypost-edge": ["1"], "x-forwarded-for": ["127.0.0.1"], "x-forwarded-proto": ["http"]}
    assert not call.values("forwarded") + call.values("x-real-ip")


@pytest.mark.parametrize("forged", FORGED, ids=str)
async def test_what_only_the_edge_may_say_is_the_edges(mesh: Mesh, how: str, forged: Headers) -> None:
    check_ours(await arrived(mesh, forged, how))


async def test_what_a_connection_names_as_its_own_takes_nothing_of_the_edges_away(mesh: Mesh) -> None:
    named = "close, x-waypost-edge, x-request-id, x-envoy-original-path"
    check_ours(await arrived(mesh, [("connection", named), *FORGED[0]], "JSON over HTTP/1.1"))
    mesh.links.reset()
    response = await ask(mesh, [("connection", "close, x-forwarded-for")])
    status.check_json(response, 400, 3, "ERROR_REASON_MALFORMED_REQUEST")
    assert not mesh.links.calls


@pytest.mark.parametrize(
    "line", [b"x-waypost-edge : 0", b" x-waypost-edge: 0", b"x-waypost-edge\t: 0", b"x-waypost_edge: 0"]
)
async def test_names_that_are_written_strangely(mesh: Mesh, line: bytes) -> None:
    answer = await mesh.edge.raw(
        b"GET " + ME.encode() + b" HTTP/1.1\r\nhost: h\r\n" + line + b"\r\nconnection: close\r\n\r\n"
    )
    if answer.startswith(b"HTTP/1.1 200 "):
        check_ours(mesh.links.calls[0])
    else:
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert not mesh.links.calls


async def frames(mesh: Mesh, headers: Headers, trailers: Headers = ()) -> list[h2.events.Event]:
    """Calls GetCaller over HTTP/2 with names as they are given, and perhaps with trailers; what comes back."""
    config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    connection = h2.connection.H2Connection(config)
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.edge.config.http_port)
    pseudo = [(":method", "POST"), (":path", CALLER), (":scheme", "http"), (":authority", "h")]
    connection.initiate_connection()
    connection.send_headers(1, [*pseudo, *GRPC, *headers])
    connection.send_data(1, EMPTY_MESSAGE, end_stream=not trailers)
    if trailers:
        connection.send_headers(1, list(trailers), end_stream=True)
    seen: list[h2.events.Event] = []
    async with asyncio.timeout(10):
        while not any(isinstance(event, h2.events.StreamEnded | h2.events.StreamReset) for event in seen):
            writer.write(connection.data_to_send())
            data = await reader.read(65_536)
            if not data:
                break
            seen += connection.receive_data(data)
    writer.close()
    return seen


async def test_capitals_are_no_names_in_http2(mesh: Mesh) -> None:
    for name in ("X-Waypost-Edge", "X-Api-Key"):
        assert not any(isinstance(event, h2.events.ResponseReceived) for event in await frames(mesh, [(name, "0")]))
    assert not mesh.links.calls


async def test_trailers_say_nothing(mesh: Mesh) -> None:
    trailers = [("x-waypost-edge", "0"), ("x-api-key", "k"), ("x-forwarded-for", "10.0.0.1"), ("authorization", "b")]
    events = await frames(mesh, [], trailers)
    assert any(isinstance(event, h2.events.StreamEnded) for event in events)
    (call,) = mesh.links.calls
    check_ours(call)
    assert not call.values("x-api-key") + call.values("authorization")


@pytest.mark.parametrize("path", ["/abc", "/docs"])
async def test_pages_too_are_told_what_comes_from_outside(mesh: Mesh, path: str) -> None:
    async with mesh.edge.client() as client:
        seen = (await client.get(path, headers=raw(FORGED[1]))).json()["headers"]
    assert [value for name, value in seen if name == "x-waypost-edge"] == ["1"]


async def test_no_credential_is_logged_or_sent_back(mesh: Mesh) -> None:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await status.abort(context, grpc.StatusCode.INTERNAL, status.info("ERROR_REASON_INTERNAL", correlation_id="x"))

    # Failures are what the access log is about.
    mesh.links.answers["GetCaller"] = mesh.links.answers["CreateKey"] = fail
    secrets = [
        ("x-api-key", "wp_seeded.secret1"),
        ("authorization", "Bearer seeded.secret2"),
        ("x-workspace", "seeded3"),
    ]
    bad: Headers = [("x-api-key", b"seeded\xff4"), ("x-correlation-id", "bad")]
    async with mesh.edge.client() as client, mesh.edge.client(http2=True) as http2:
        answers = [
            await client.get(f"{ME}?api_key=seeded5", headers=secrets),
            await client.post("/api/v1/keys", content=b"seeded6 is no JSON", headers=secrets),
            await client.post("/api/v1/keys", json={"name": "x"}, headers=secrets),
            await client.get("/api/nowhere?seeded7", headers=secrets),
            await client.get(ME, headers=raw(bad)),
            await http2.post(CALLER, content=EMPTY_MESSAGE, headers=raw([*GRPC, *secrets])),
            await http2.post("/waypost.api.v1.Nobody/Knows", content=EMPTY_MESSAGE, headers=raw([*GRPC, *secrets])),
        ]
    assert [answer.status_code for answer in answers] == [500, 400, 500, 404, 400, 200, 200]
    for answer in answers:
        # What is no JSON is quoted to whoever sent it, as far as it was read.
        told = answer.text.replace("seeded6 is no JSON", "")
        assert "seeded" not in told + json.dumps(dict(answer.headers))
    ids = {answer.headers["x-correlation-id"] for answer in answers if answer.status_code == 500}
    await until(lambda: all(one in mesh.edge.logs() for one in ids))
    assert "seeded" not in mesh.edge.logs()


async def test_a_challenge_comes_with_a_401(mesh: Mesh) -> None:
    """RFC 9110, 11.6.1. The service sends it as metadata, after its status."""

    async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        details = status.make(16, "who are you", status.info("ERROR_REASON_UNAUTHENTICATED"))
        trailers = ((status.DETAILS_KEY, details.SerializeToString()), ("www-authenticate", 'Bearer realm="waypost"'))
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you", trailers)

    mesh.links.answers["GetCaller"] = refuse
    for headers in ([], [("accept", "application/problem+json")]):
        response = await ask(mesh, headers)
        check = status.check_problem if headers else status.check_json
        check(response, 401, 16, "ERROR_REASON_UNAUTHENTICATED")
        assert response.headers.get_list("www-authenticate") == ['Bearer realm="waypost"']
        assert response.headers["cache-control"] == "no-store"
    assert (await ask(mesh, [], how="gRPC over HTTP/2")).headers["www-authenticate"] == 'Bearer realm="waypost"'


async def test_who_may_not_is_told_403(mesh: Mesh) -> None:
    async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        info = status.info("ERROR_REASON_PERMISSION_DENIED", scope="keys:manage")
        await status.abort(context, grpc.StatusCode.PERMISSION_DENIED, info)

    mesh.links.answers["GetCaller"] = refuse
    response = await ask(mesh, [])
    answer = status.check_json(response, 403, 7, "ERROR_REASON_PERMISSION_DENIED")
    assert answer["details"][0]["metadata"] == {"scope": "keys:manage"}
    assert "www-authenticate" not in response.headers


async def test_what_a_service_says_of_caches_stands(mesh: Mesh) -> None:
    async def kept(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        await context.send_initial_metadata((("cache-control", "private, max-age=5"),))
        return Caller()

    mesh.links.answers["GetCaller"] = kept
    assert (await ask(mesh, [])).headers.get_list("cache-control") == ["private, max-age=5"]
