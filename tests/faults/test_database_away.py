"""PostgreSQL is gone, or frozen: cached links redirect on, writes are refused in time, and all of it heals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import grpc
import httpx
import pytest

from tests.faults.calls import refusal, serving
from tests.faults.gateways import Gateway, running_gateway
from tests.support.credentials import aio_with_key
from tests.support.keys import add_key
from tests.support.load import Attempt, Kind, Load, Window, check, make_links
from tests.support.mesh import Mesh, running_mesh
from tests.support.postgres import Server, dispose, make_or_skip, temporary_server
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

if TYPE_CHECKING:
    from waypost.api.v1.link_service_pb2_grpc import LinkServiceAsyncStub

AWAY_SECONDS = 7.0
HEAL_SECONDS = 10.0
"""From the moment when the database answers again; a look each half of a second, and time for a busy machine."""
QUICK_SECONDS = 0.25
"""A refusal or a redirect that waits for nobody: half of the shortest time limit that any statement has."""
SETTLED_SECONDS = 3.0
"""After which breakers have opened, for what was asked first has run into its time limit."""
QUICK_SHARE = 0.65
"""Of what is asked once they have. Where each caller waits for a look that they share, half of them come late enough to
be quick."""
COMMAND_SECONDS = 2.0
"""Most time that the gateway gives a statement."""
BUSY_SECONDS = 3.0
"""What a busy machine may add to a time limit."""
POOL = 4

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.mark.timeout(240)
async def test_a_frozen_database(data: Path) -> None:
    """SIGSTOP to all of PostgreSQL: nothing is closed, nothing answers."""
    env = {"WAYPOST_GATEWAY_DATABASE_POOL": str(POOL)}
    async with running_mesh(data, env) as mesh:
        links = await make_links(mesh, 20)
        # Few enough that a slow machine, too, has time to spare.
        async with Load(mesh, creates=6, redirects=20, links=links) as load:
            await load.more(20, Kind.CREATE)
            began = time.monotonic()
            async with _frozen(mesh), _asked_what_needs_nothing(mesh) as others:
                while time.monotonic() < began + AWAY_SECONDS:
                    await _look_alive(mesh)
                    await asyncio.sleep(0.2)
            thawed = time.monotonic()
            await load.more(20, Kind.CREATE, seconds=HEAL_SECONDS)
            # What begins after this must not fail any more.
            healed = time.monotonic()
            await load.more(20, Kind.CREATE)
            await load.end()
        window = Window(began, healed)
        machine = _quick_share([seconds for at, seconds in others if at > began + SETTLED_SECONDS])
        for kind in (Kind.REDIRECT, Kind.CREATE):
            report = load.log.report(kind, window)
            last = max(0.0, report.recovered_after - (thawed - began))
            settled = [a.seconds for a in load.log.of(kind) if began + SETTLED_SECONDS < a.began < thawed]
            quick = _quick_share(settled)
            print(f"\n{kind}: {report}; last failure {last:.2f} s after the thaw")
            print(f"quick once settled {quick:.0%}, of what needs nothing {machine:.0%}")
            assert report.wrong == 0
            assert report.failed_outside == 0, load.log.failures(kind)[-3:]
            # Nobody waits for the database. On a busy machine everybody waits for their turn, and these for more turns
            # than what needs nothing; creates for more than redirects.
            assert quick >= QUICK_SHARE * machine**2
            machine = min(machine, quick)
        assert not load.log.failures(Kind.REDIRECT), load.log.failures(Kind.REDIRECT)[:3]
        # The first look-ups wait for the time limit of a read, half of a second, and no longer.
        slowest = max(a.seconds for a in load.log.of(Kind.REDIRECT) if a.began < thawed)
        assert slowest < 0.5 + BUSY_SECONDS
        _refused_in_order(load.log.failures(Kind.CREATE))
        assert not (await check(load.log, mesh)).faults
        assert not [event for event in mesh.events if event.get("state") in ("restarting", "failed")]
        await _all_slots_serve(mesh)


@contextlib.asynccontextmanager
async def _asked_what_needs_nothing(mesh: Mesh) -> AsyncIterator[list[tuple[float, float]]]:
    """Asks the gateway, through the edge, what it answers by itself; when each was asked, and the seconds it took."""
    took: list[tuple[float, float]] = []

    async def ask() -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            while True:
                began = time.monotonic()
                await client.get(f"{mesh.http_url}/healthz")
                took.append((began, time.monotonic() - began))
                await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(ask()) for _ in range(2)]
    try:
        yield took
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _quick_share(seconds: Sequence[float]) -> float:
    assert len(seconds) > 10
    return sum(took < QUICK_SECONDS for took in seconds) / len(seconds)


def _refused_in_order(creates: Sequence[Attempt]) -> None:
    assert creates
    for attempt in creates:
        assert attempt.status == 503, attempt
        assert "ERROR_REASON_DEPENDENCY_UNAVAILABLE" in attempt.detail
        assert "google.rpc.RetryInfo" in attempt.detail
        # Its transaction has several statements, of which only one can have waited to the end.
        assert attempt.seconds < COMMAND_SECONDS + BUSY_SECONDS, attempt


@contextlib.asynccontextmanager
async def _frozen(mesh: Mesh) -> AsyncIterator[None]:
    pids: list[int] = []
    try:
        # Again, for one that came between the look and the stop; the first process makes no more once it is stopped.
        while new := [pid for pid in mesh.postgres_pids() if pid not in pids]:
            pids += new
            for pid in new:
                _send(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _look_alive(mesh: Mesh) -> None:
    """Liveness looks at nothing, and readiness does not fail since a dependency is away."""
    async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
        for url in (f"{mesh.http_url}/healthz", f"{mesh.http_url}/readyz"):
            assert (await client.get(url)).status_code == 200
        for name in ("gateway", "workers"):
            url = f"http://127.0.0.1:{mesh.ports[f'{name}_metrics']}"
            assert (await client.get(f"{url}/health")).status_code == 200
            assert (await client.get(f"{url}/ready")).status_code == 200
    async with grpc.aio.insecure_channel(mesh.grpc_address) as channel:
        assert await serving(channel)


async def _all_slots_serve(mesh: Mesh) -> None:
    """As many statements as a pool has slots can wait for a lock at the same time: none of its slots got lost."""
    holder = await asyncpg.connect(mesh.owner_dsn(), timeout=10)
    watcher = await asyncpg.connect(mesh.owner_dsn(), timeout=10)
    codes = [f"slot-{number}" for number in range(POOL)]
    await holder.executemany(
        "INSERT INTO links (workspace_id, short_code, original_url, redirect_status) "
        "SELECT id, $1, 'https://example.com/slot', 302 FROM workspaces",
        [(code,) for code in codes],
    )
    async with httpx.AsyncClient(base_url=mesh.http_url, timeout=15, trust_env=False) as client:

        async def create() -> None:
            while True:
                await client.post("/api/v1/shorten", json={"url": "https://example.com/slots"})

        async def redirect(code: str) -> None:
            while True:
                await client.get(f"/{code}")

        async def waiting(name: str) -> int:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
            return int(await watcher.fetchval(query, name))

        async def full() -> bool:
            return await waiting("gateway") == POOL and await waiting("gateway-redirect") == POOL

        await holder.execute("BEGIN")
        await holder.execute("LOCK TABLE links IN ACCESS EXCLUSIVE MODE")
        tasks = [*(asyncio.create_task(create()) for _ in codes), *(asyncio.create_task(redirect(c)) for c in codes)]
        try:
            await until(full)
        finally:
            await holder.execute("ROLLBACK")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for connection in (holder, watcher):
        await connection.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL of its own, to be killed."""
    server = temporary_server()
    try:
        make_or_skip(server)
        yield server
    finally:
        dispose(server)


@dataclass(frozen=True, slots=True)
class Client:
    """Whoever uses one gateway without an edge."""

    gateway: Gateway
    channel: grpc.aio.Channel
    stub: LinkServiceAsyncStub
    http: httpx.AsyncClient

    async def create(self) -> str:
        """Makes a link; its short code."""
        return (await self.stub.CreateLink(pb.CreateLinkRequest(url="https://example.com/"), timeout=5)).short_code

    async def status(self, code: str) -> int:
        """What a redirect answers."""
        return (await self.http.get(f"{self.gateway.web_url}/{code}")).status_code

    async def creates_again(self) -> bool:
        """Whether links can be made."""
        try:
            await self.create()
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return False
        return True


@contextlib.asynccontextmanager
async def _client(gateway: Gateway, key: str) -> AsyncIterator[Client]:
    async with (
        grpc.aio.insecure_channel(gateway.address, interceptors=aio_with_key(key)) as channel,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        yield Client(gateway, channel, LinkServiceStub(channel), http)


async def test_a_database_that_is_gone_for_a_while(server: Server) -> None:
    key = await add_key(server.cluster.url())
    async with running_gateway(server.cluster.url) as gateway, _client(gateway, key) as client:
        cached = await client.create()
        uncached = "uncached"
        connection = await asyncpg.connect(server.cluster.url())
        await connection.execute(
            "INSERT INTO links (workspace_id, short_code, original_url, redirect_status) "
            "SELECT id, $1, 'https://example.com/', 302 FROM workspaces",
            uncached,
        )
        connection.terminate()
        assert await client.status(cached) == 302

        await asyncio.to_thread(server.stop, signal.SIGKILL)
        began, slowest, refused = time.monotonic(), 0.0, list[float]()
        while time.monotonic() < began + AWAY_SECONDS:
            asked = time.monotonic()
            assert await client.status(cached) == 302
            slowest = max(slowest, time.monotonic() - asked)
            asked = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.create()
            answer = refusal(caught.value)
            assert answer.code is grpc.StatusCode.UNAVAILABLE
            assert answer.reason == "ERROR_REASON_DEPENDENCY_UNAVAILABLE"
            assert answer.retry_after is not None
            assert answer.retry_after > 0
            refused.append(time.monotonic() - asked)
            assert await client.status(uncached) == 503
            assert await serving(client.channel)
            await asyncio.sleep(0.05)

        # Whoever connects is refused at once: no time limit has run out, but for those that a busy machine held up.
        assert sorted(refused)[len(refused) // 2] < QUICK_SECONDS

        await asyncio.to_thread(server.start)
        up = time.monotonic()
        await until(client.creates_again, HEAL_SECONDS)
        created = time.monotonic() - up

        async def redirects_again() -> bool:
            return await client.status(uncached) == 302

        await until(redirects_again, HEAL_SECONDS)
        print(
            f"\nslowest cached redirect {slowest * 1000:.0f} ms; creates {created:.2f} s after the database, ", end=""
        )
        print(f"uncached redirects {time.monotonic() - up:.2f} s")


async def test_a_gateway_starts_without_a_database(server: Server) -> None:
    key = await add_key(server.cluster.url())
    await asyncio.to_thread(server.stop)
    async with running_gateway(server.cluster.url, ready=False) as gateway, _client(gateway, key) as client:
        await gateway.logged("serving")
        assert (await client.http.get(f"{gateway.web_url}/healthz")).status_code == 200
        assert (await client.http.get(f"{gateway.web_url}/readyz")).status_code == 503
        assert not await serving(client.channel)
        assert not await client.creates_again()
        await asyncio.to_thread(server.start)
        await gateway.logged("ready")
        await until(client.creates_again, HEAL_SECONDS)
        assert await serving(client.channel)
