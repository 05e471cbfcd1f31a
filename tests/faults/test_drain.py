"""Stops in order cost nobody an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.gateways import running_gateway
from tests.support.credentials import aio_with_key
from tests.support.hot_port import need_hot_port
from tests.support.keys import add_key
from tests.support.load import Kind, Load, Outcome, check, make_links
from tests.support.mesh import running_mesh
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

if TYPE_CHECKING:
    from waypost.api.v1.link_service_pb2_grpc import LinkServiceAsyncStub

IN_FLIGHT = 8
WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE application_name = 'gateway' AND wait_event_type = 'Lock' AND state = 'active'"
)

pytestmark = [pytest.mark.slow, pytest.mark.alone]


async def test_a_mesh_that_is_told_to_stop_answers_what_is_under_way(data: Path) -> None:
    async with running_mesh(data) as mesh:
        owner = await asyncpg.connect(mesh.owner_dsn(), timeout=10)
        watcher = await asyncpg.connect(mesh.owner_dsn(), timeout=10)
        async with Load(mesh) as load:
            # Creates that cannot end before we say so.
            await owner.execute("BEGIN")
            await owner.execute("LOCK TABLE links IN EXCLUSIVE MODE")
            creates = [asyncio.create_task(load.create(number)) for number in range(IN_FLIGHT)]

            async def all_wait() -> bool:
                return bool(await watcher.fetchval(WAITING) == IN_FLIGHT)

            await until(all_wait)
            seen = len(mesh.events)
            stopping = asyncio.create_task(mesh.stop())
            await mesh.wait_event(after=seen, process="envoy", state="stopping")
            await owner.execute("ROLLBACK")
            answers = await asyncio.gather(*creates)
            assert [answer.outcome for answer in answers] == [Outcome.DONE] * IN_FLIGHT, answers
        for connection in (owner, watcher):
            await connection.close()
        assert await stopping == 0
        assert not mesh.lines
        await mesh.gone(10)
        order = [event["process"] for event in mesh.events[seen:] if event.get("state") == "stopped"]
        assert order[:2] == ["envoy", "gateway"]
        assert order[-1] == "postgres"
    async with running_mesh(data, mesh.env) as second:
        assert not (await check(load.log, second)).faults


async def test_a_mesh_that_is_told_to_stop_under_load_answers_nobody_with_an_error(data: Path) -> None:
    async with running_mesh(data) as mesh:
        links = await make_links(mesh, 10)
        async with Load(mesh, creates=15, redirects=60, links=links) as load:
            await load.more(20, Kind.CREATE)
            began = time.monotonic()
            assert await mesh.stop() == 0
            took = time.monotonic() - began
            await load.end()
    attempts = [attempt for kind in Kind for attempt in load.log.of(kind)]
    before = [attempt for attempt in attempts if attempt.began < began]
    assert [attempt for attempt in before if attempt.outcome is not Outcome.DONE] == []
    # Whoever comes later is served, or finds the door closed.
    after = [attempt for attempt in attempts if attempt.began >= began]
    assert [attempt for attempt in after if attempt.outcome is not Outcome.DONE and attempt.status] == []
    print(f"\nstopped in {took:.2f} s; of those who came meanwhile: {Counter(a.detail or 'served' for a in after)}")
    async with running_mesh(data, mesh.env) as second:
        assert not (await check(load.log, second)).faults


@pytest.mark.parametrize("hot", [False, True], ids=["control", "hot"])
async def test_gateways_that_are_replaced_one_after_the_other_fail_no_call(database: Database, hot: bool) -> None:
    if hot:
        need_hot_port()
    async with contextlib.AsyncExitStack() as stack:
        env = {"WAYPOST_DRAIN_DELAY_SECONDS": "0.5"}
        gateways = [await stack.enter_async_context(running_gateway(database.url, env)) for _ in range(2)]
        target = "ipv4:" + ",".join(one.hot_address if hot else one.address for one in gateways)
        config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
        options = [
            ("grpc.service_config", json.dumps(config)),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        interceptors = aio_with_key(await add_key(database.url()))
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
        )
        async with _calls(LinkServiceStub(channel)) as calls:
            for gateway in gateways:
                await gateway.logged("rpc")
                await calls.more(50)
                assert await gateway.stop() == 0
                await calls.more(50)
                successor = await stack.enter_async_context(
                    running_gateway(database.url, env, control_port=gateway.control_port, hot_port=gateway.hot_port)
                )
                # Clients have found it.
                await successor.logged("rpc")
            await calls.more(50)
    assert calls.failures == []
    assert len(calls.made) == len(set(calls.made))
    print(f"\n{calls.done} calls while both gateways were replaced, none failed")


async def test_a_hot_port_that_is_about_to_go_says_so_and_serves_on(database: Database) -> None:
    need_hot_port()
    key = aio_with_key(await add_key(database.url()))
    async with (
        running_gateway(database.url, {"WAYPOST_DRAIN_DELAY_SECONDS": "30"}) as gateway,
        grpc.aio.insecure_channel(gateway.hot_address, interceptors=key) as channel,
    ):
        health, links = health_pb2_grpc.HealthStub(channel), LinkServiceStub(channel)

        async def says() -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
            return (await health.Check(health_pb2.HealthCheckRequest(), timeout=20)).status

        assert await says() == health_pb2.HealthCheckResponse.SERVING
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.logged("draining")
        assert await says() == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await links.CreateLink(pb.CreateLinkRequest(url="https://example.com/"), timeout=20)).short_code


class Calls:
    """Creates and look-ups, several at a time, without any retry."""

    def __init__(self, stub: LinkServiceAsyncStub) -> None:
        self.done = 0
        self.failures: list[str] = []
        self.made: list[str] = []
        self._stub = stub
        self._news = asyncio.Event()

    async def more(self, count: int) -> None:
        """Waits for so many calls more."""
        goal = self.done + count
        async with asyncio.timeout(30):
            while self.done < goal:
                self._news.clear()
                await self._news.wait()

    async def run(self, number: int) -> None:
        """Makes one call after the other."""
        turn = 0
        while True:
            turn += 1
            url = f"https://example.com/{number}/{turn}"
            try:
                link = await self._stub.CreateLink(pb.CreateLinkRequest(url=url), timeout=5)
                self.made.append(link.short_code)
                found = await self._stub.GetLink(pb.GetLinkRequest(short_code=link.short_code), timeout=5)
                if found.original_url != url:
                    self.failures.append(f"{found.original_url} instead of {url}")
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code()} {error.details()}")
            self.done += 2
            self._news.set()
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _calls(stub: LinkServiceAsyncStub) -> AsyncIterator[Calls]:
    calls = Calls(stub)
    tasks = [asyncio.create_task(calls.run(number)) for number in range(4)]
    try:
        yield calls
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
