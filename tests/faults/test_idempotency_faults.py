"""Whoever lost an answer asks again and is given it: a gateway that dies, and a caller that goes, at the worst moment.

Between the gateway and the database stands a proxy, so the worst moment is no matter of luck: what the server has said,
and the gateway not heard, is when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import grpc
import httpx
import pytest
import pytest_asyncio
from google.protobuf.json_format import Parse

from tests.support.credentials import aio_with_key, headers_of
from tests.support.mesh import Mesh, running_mesh
from tests.support.postgres import Server
from tests.support.tcp_proxy import Hold, Proxy, proxy_to
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb

WRITES = "gateway"
"""The application name of the gateway's connections that write."""
COMMITTED, NOTED = b"COMMIT\0", b"UPDATE 1\0"
"""What the server says when a transaction is done, and when all of it is but the commit: the answer is noted last."""
TIMEOUT = 20.0
ITEMS = 3

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True, slots=True)
class Scene:
    """A mesh on a database of its own, the proxy between them, and a connection of the database's owner."""

    mesh: Mesh
    proxy: Proxy
    owner: asyncpg.Connection
    http: httpx.AsyncClient
    edge: grpc.aio.Channel

    async def kept(self, key: str) -> bytes | None:
        """The answer that is kept for a key; None: it is not known."""
        answer: bytes | None = await self.owner.fetchval("SELECT answer FROM idempotency_keys WHERE key = $1", key)
        return answer

    async def made(self, title: str) -> list[str]:
        """The short codes of the links of this title; asserts that each has its event, once."""
        rows = await self.owner.fetch("SELECT short_code FROM links WHERE title = $1 ORDER BY id", title)
        codes = [str(row["short_code"]) for row in rows]
        events = await self.owner.fetch("SELECT subject, type FROM outbox WHERE subject = ANY($1)", codes)
        found = sorted((row["subject"], row["type"]) for row in events)
        assert found == sorted((code, "link_created") for code in codes)
        return codes


class Unanswered(Exception):
    """The call came to nothing that its caller knows of; `str()` says how."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask for links: `ask(scene, key, title, seconds)` returns the answer as bytes or raises `Unanswered`."""

    method: str
    links: int
    ask: Callable[[Scene, str, str, float], Coroutine[None, None, bytes]]


def _json(header: bool) -> Callable[[Scene, str, str, float], Coroutine[None, None, bytes]]:
    async def ask(scene: Scene, key: str, title: str, seconds: float) -> bytes:
        fields = {"url": "https://a.example/", "title": title} | ({} if header else {"request_id": key})
        headers = {"idempotency-key": key} if header else {}
        response = await scene.http.post("/api/v1/shorten", json=fields, headers=headers, timeout=seconds)
        if response.status_code != 200:
            raise Unanswered(f"{response.status_code} {response.text}")
        return Parse(response.text, pb.Link()).SerializeToString()

    return ask


def _batch(header: bool) -> Callable[[Scene, str, str, float], Coroutine[None, None, bytes]]:
    async def ask(scene: Scene, key: str, title: str, seconds: float) -> bytes:
        items = [pb.CreateLinkRequest(url=f"https://a.example/{item}", title=title) for item in range(ITEMS)]
        items.append(pb.CreateLinkRequest(url="no"))
        request = pb.BatchCreateLinksRequest(requests=items, request_id="" if header else key)
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = scene.edge.unary_unary(
            "/waypost.api.v1.LinkService/BatchCreateLinks"
        )
        metadata = (("idempotency-key", key),) if header else ()
        try:
            return bytes(await call(request.SerializeToString(), timeout=seconds, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            raise Unanswered(f"{error.code()} {error.details()}") from error

    return ask


WAYS = [
    pytest.param(Way("CreateLink", 1, _json(header=False)), id="create, JSON, field"),
    pytest.param(Way("CreateLink", 1, _json(header=True)), id="create, JSON, header"),
    pytest.param(Way("BatchCreateLinks", ITEMS, _batch(header=False)), id="batch, gRPC, field"),
    pytest.param(Way("BatchCreateLinks", ITEMS, _batch(header=True)), id="batch, gRPC, metadata"),
]
BY_FIELD = WAYS[::2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(postgres: Server) -> AsyncIterator[Scene]:
    database = postgres.make_database()
    # A slow machine is not to be taken for a limiter that is away.
    env = {"WAYPOST_RATELIMITER_TIMEOUT_MS": "2000"}
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxy_to(postgres.cluster.socket))
        env["WAYPOST_DATABASE_URL"] = proxy.url(database.url())
        mesh = await stack.enter_async_context(running_mesh(env=env))
        owner = await asyncpg.connect(database.url(), timeout=10)
        stack.push_async_callback(owner.close)
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=mesh.http_url, headers=headers_of(mesh.operator_key), trust_env=False, timeout=TIMEOUT
            )
        )
        edge = await stack.enter_async_context(
            grpc.aio.insecure_channel(
                f"127.0.0.1:{mesh.ports['http']}",
                [("grpc.enable_http_proxy", 0)],
                interceptors=aio_with_key(mesh.operator_key),
            )
        )
        yield Scene(mesh, proxy, owner, http, edge)


@pytest.fixture
def key() -> str:
    return str(uuid4())


@contextlib.asynccontextmanager
async def _held(scene: Scene, containing: bytes) -> AsyncIterator[Hold]:
    hold = scene.proxy.hold(WRITES, containing=containing)
    try:
        yield hold
    finally:
        scene.proxy.release()


async def _kill_gateway(scene: Scene) -> int:
    """Kills the gateway, and waits until the supervisor knows; what `_next_gateway` wants."""
    seen = len(scene.mesh.events)
    scene.mesh.kill("gateway")
    await scene.mesh.wait_event(after=seen, process="gateway", state="restarting")
    return seen


async def _next_gateway(scene: Scene, seen: int) -> None:
    await scene.mesh.wait_event(after=seen, process="gateway", state="ready")


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_was_lost_with_its_gateway_is_given_to_whoever_asks_again(
    scene: Scene, way: Way, key: str
) -> None:
    async with _held(scene, COMMITTED) as hold:
        asking = asyncio.create_task(way.ask(scene, key, key, TIMEOUT))
        async with asyncio.timeout(10):
            await hold.caught.wait()
        # It is so for good, and the gateway has not heard of it.
        kept = await scene.kept(key)
        assert kept
        codes = await scene.made(key)
        assert len(codes) == way.links
        assert not asking.done()
        seen = await _kill_gateway(scene)
    # Who sends the key in a header may be spared all that: the edge itself asks again.
    with contextlib.suppress(Unanswered):
        assert await asking == kept
    await _next_gateway(scene, seen)
    for _ in range(2):
        assert await way.ask(scene, key, key, TIMEOUT) == kept
    assert await scene.made(key) == codes
    assert await scene.kept(key) == kept


@pytest.mark.parametrize("way", BY_FIELD)
async def test_what_was_not_committed_is_undone_and_done_by_whoever_asks_again(
    scene: Scene, way: Way, key: str
) -> None:
    async with _held(scene, NOTED) as hold:
        asking = asyncio.create_task(way.ask(scene, key, key, TIMEOUT))
        async with asyncio.timeout(10):
            await hold.caught.wait()
        seen = await _kill_gateway(scene)
    with pytest.raises(Unanswered, match=r"503|UNAVAILABLE"):
        await asking
    await _next_gateway(scene, seen)
    assert (await scene.made(key), await scene.kept(key)) == ([], None)
    answer = await way.ask(scene, key, key, TIMEOUT)
    codes = await scene.made(key)
    assert len(codes) == way.links
    assert await way.ask(scene, key, key, TIMEOUT) == answer == await scene.kept(key)
    assert await scene.made(key) == codes


@pytest.mark.parametrize("patient", [True, False], ids=["hangs up", "has no more time"])
@pytest.mark.parametrize("way", BY_FIELD)
async def test_a_caller_who_goes_does_not_stop_what_is_under_way(
    scene: Scene, way: Way, key: str, patient: bool
) -> None:
    ended = _calls_ended(scene.mesh, way.method)
    async with _held(scene, NOTED) as hold:
        asking = asyncio.create_task(way.ask(scene, key, key, TIMEOUT if patient else 0.5))
        async with asyncio.timeout(10):
            await hold.caught.wait()
        if patient:
            asking.cancel()
        with pytest.raises((asyncio.CancelledError, Unanswered, httpx.TimeoutException)):
            await asking
        # The gateway knows that nobody waits for the answer any more, and there is none yet.
        await until(lambda: _calls_ended(scene.mesh, way.method) > ended)
        assert await scene.kept(key) is None

    async def done() -> bool:
        return await scene.kept(key) is not None

    await until(done)
    codes = await scene.made(key)
    assert len(codes) == way.links
    assert await way.ask(scene, key, key, TIMEOUT) == await scene.kept(key)
    assert await scene.made(key) == codes


def _calls_ended(mesh: Mesh, method: str) -> int:
    """How many calls of a method the gateway has noted as given up."""
    number = 0
    for line in mesh.log_path("gateway").read_text().splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if str(event.get("rpc", "")).endswith(f"/{method}") and event["code"] in ("CANCELLED", "DEADLINE_EXCEEDED"):
            number += 1
    return number
