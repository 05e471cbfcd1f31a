"""PostgreSQL killed, stopped, restarted, full: errors come in bounded time, everything heals by itself, nothing leaks.

Every test runs a few callers without pause, each of whose calls is timed, while the fault comes and goes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from tests.integration.storage.test_change_feed import following
from tests.support.links import new_link, store
from tests.support.postgres import Server, running_server
from tests.support.tcp_proxy import proxy_to
from tests.support.waiting import until
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage
from waypost.breaker import BreakerState
from waypost.errors import DependencyUnavailable, Overloaded
from waypost.model import DEFAULT_WORKSPACE

COMMAND_TIMEOUT = 0.6
HEAL_SECONDS = 15.0
"""It looks twice a second; the rest is for a busy machine."""
BUSY_SECONDS = 5.0
"""What a busy machine may add to a time limit."""
CALLERS = 6
POOL = 4


@dataclass(slots=True)
class Log:
    """What callers saw."""

    served: int = 0
    refused: int = 0
    last_served: float = 0.0
    slowest: float = 0.0
    waited_when_open: int = 0
    """Refusals that came only after a wait, though the breaker was open from the start."""
    unexpected: list[BaseException] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)


class Turn:
    """The current turn of the event loop. While it is not `over`, nobody has waited for anything."""

    def __init__(self) -> None:
        self.over = False
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self.over = True


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of our own, to be ill-treated."""
    with running_server() as server:
        yield server


@pytest.fixture
async def pool(server: Server) -> AsyncIterator[Postgres]:
    database = server.make_database()
    before = asyncio.all_tasks()
    async with Postgres(
        database.url("waypost_api"), application_name=database.name, max_size=POOL, command_timeout=COMMAND_TIMEOUT
    ) as pool:
        yield pool
    assert pool.in_use == 0
    await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})


@asynccontextmanager
async def callers(pool: Postgres, prefix: str = "code") -> AsyncIterator[Log]:
    """Callers that create links until the end of the block."""
    log = Log()
    storage = PostgresStorage(pool, "https://way.example")
    over = False

    async def caller(name: int) -> None:
        number = 0
        while not over:
            number += 1
            code = f"{prefix}-{name}-{number}"
            began, turn, was_open = time.monotonic(), Turn(), pool.breaker.state is BreakerState.OPEN
            try:
                await store(storage, new_link(code), event=True)
            except (DependencyUnavailable, Overloaded):
                log.refused += 1
                log.waited_when_open += was_open and turn.over
                await asyncio.sleep(0.005)
            except BaseException as error:
                log.unexpected.append(error)
                raise
            else:
                log.served += 1
                log.acknowledged.add(code)
                log.last_served = time.monotonic()
            log.slowest = max(log.slowest, time.monotonic() - began)

    tasks = [asyncio.create_task(caller(name)) for name in range(CALLERS)]
    try:
        await until(lambda: log.served > 20)
        yield log
    finally:
        over = True
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert log.unexpected == []


async def healed(log: Log, seconds: float = HEAL_SECONDS) -> None:
    """Waits until calls succeed again."""
    served = log.served
    await until(lambda: log.served > served + 20, seconds)


async def check_nothing_lost_or_leaked(server: Server, pool: Postgres, log: Log) -> None:
    await until(lambda: pool.in_use == 0)
    name = pool._settings["application_name"]
    owner = await asyncpg.connect(server.cluster.url(database=name))
    try:
        stored = {row["short_code"] for row in await owner.fetch("SELECT short_code FROM links")}
        assert log.acknowledged <= stored, "what was acknowledged is there"
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"

        async def none_too_many() -> bool:
            return bool(await owner.fetchval(count, name) <= POOL + 1)

        await until(none_too_many)  # the server notices a cut connection within a second
        stray = "SELECT count(*) FROM links WHERE NOT EXISTS (SELECT FROM outbox WHERE subject = short_code)"
        assert await owner.fetchval(stray) == 0, "a link and its event come together"
    finally:
        await owner.close()


@pytest.mark.parametrize("all_at_once", [True, False], ids=["everything", "postmaster"])
async def test_killed_and_started_again(server: Server, pool: Postgres, all_at_once: bool) -> None:
    async with callers(pool) as log:
        if all_at_once:
            server.signal_all(signal.SIGKILL)
        else:
            assert server.process is not None
            server.process.kill()
        await until(lambda: pool.breaker.state is BreakerState.OPEN)
        with pytest.raises(DependencyUnavailable):
            await pool.check()
        refused = log.refused
        await until(lambda: log.refused > refused + 100)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await healed(log)
        await pool.check()
    assert log.waited_when_open == 0
    await check_nothing_lost_or_leaked(server, pool, log)


async def test_stopped_for_a_while(server: Server, pool: Postgres) -> None:
    async with callers(pool) as log:
        server.signal_all(signal.SIGSTOP)
        try:
            await until(lambda: pool.breaker.state is BreakerState.OPEN)
            with pytest.raises(DependencyUnavailable):
                await pool.check()
            await until(lambda: pool.in_use == 0)
            refused = log.refused
            await until(lambda: log.refused > refused + 100)
        finally:
            server.signal_all(signal.SIGCONT)
        await healed(log)
    # The longest statement, and a connection before it.
    assert log.slowest < COMMAND_TIMEOUT + 1.0 + BUSY_SECONDS
    assert log.waited_when_open == 0
    await check_nothing_lost_or_leaked(server, pool, log)


async def test_restarted_in_order(server: Server, pool: Postgres) -> None:
    async with callers(pool) as log:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await healed(log)
    await check_nothing_lost_or_leaked(server, pool, log)


async def test_one_backend_crashes_and_takes_all_with_it(server: Server, pool: Postgres) -> None:
    async with callers(pool) as log:
        owner = await asyncpg.connect(server.cluster.url())
        pid = await owner.fetchval("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGKILL)
        owner.terminate()
        refused = log.refused
        await until(lambda: log.refused > refused)
        await healed(log)  # and the recovery from the crash
    await check_nothing_lost_or_leaked(server, pool, log)


async def test_it_starts_without_a_server_and_finds_it_later(server: Server) -> None:
    await asyncio.to_thread(server.stop)
    try:
        turn = Turn()
        pool = Postgres(server.cluster.url("waypost_api"))
        await pool.start()
        assert not turn.over, "it waited for something"
        with pytest.raises(DependencyUnavailable) as caught:
            await pool.check()
        assert (caught.value.dependency, caught.value.retry_after) == ("postgres", 1.0)
        await until(lambda: pool.breaker.state is BreakerState.OPEN)
    finally:
        await asyncio.to_thread(server.start)
    await until(lambda: pool.breaker.state is BreakerState.CLOSED, HEAL_SECONDS)
    await pool.check()
    await pool.aclose()


async def test_a_full_pool_says_so_in_bounded_time_and_health_goes_on(pool: Postgres) -> None:
    release = asyncio.Event()

    async def hold(held: asyncio.Event) -> None:
        async with pool.connection() as session:
            await session.execute("BEGIN")
            held.set()
            await release.wait()
            await session.execute("ROLLBACK")

    events = [asyncio.Event() for _ in range(POOL)]
    holders = [asyncio.create_task(hold(event)) for event in events]
    await asyncio.gather(*(event.wait() for event in events))
    waits = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(Overloaded):
            async with pool.connection():
                pass
        waits.append(time.monotonic() - began)
    # A quarter of a second, and below it only as far as clocks differ. The time to connect is not added: nobody does.
    assert 0.2 < min(waits) < 1.0
    await pool.check()
    release.set()
    await asyncio.gather(*holders)
    async with pool.connection() as session:
        assert await session.fetchval("SELECT 1") == 1
    assert (pool.in_use, pool.idle) == (0, POOL)


async def test_a_slow_statement_costs_its_caller_only(pool: Postgres) -> None:
    began = time.monotonic()
    with pytest.raises(DependencyUnavailable):
        async with pool.connection() as session:
            await session.execute("SELECT pg_sleep(30)")
    assert time.monotonic() - began < COMMAND_TIMEOUT + BUSY_SECONDS
    assert pool.in_use == 0
    async with pool.connection() as session:
        assert await session.fetchval("SELECT 1") == 1


async def test_a_cancelled_statement_gives_its_place_back(pool: Postgres) -> None:
    async def sleep() -> None:
        async with pool.connection() as session:
            await session.execute("SELECT pg_sleep(30)")

    for _ in range(2 * POOL):
        task = asyncio.create_task(sleep())
        await until(lambda: pool.in_use == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (pool.in_use, pool.idle) == (0, 0)
    async with pool.connection() as session:
        assert await session.fetchval("SELECT 1") == 1


async def test_an_open_transaction_is_not_handed_on(pool: Postgres) -> None:
    async with pool.connection() as session:
        await session.execute("BEGIN")
    assert (pool.in_use, pool.idle) == (0, 0)


async def test_a_defect_of_ours_is_not_the_servers(pool: Postgres) -> None:
    async with pool.connection() as session:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await session.execute("SELEKT")
        with pytest.raises(asyncpg.InterfaceError):
            await session.fetchval("SELECT $1::int", 1, 2)
        assert await session.fetchval("SELECT 1") == 1
    assert pool.breaker.state is BreakerState.CLOSED
    assert pool.idle == 1


async def test_a_schema_that_is_not_there_yet_is_a_server_that_cannot_yet(server: Server) -> None:
    database = server.make_database(empty=True)
    async with Postgres(database.url()) as pool:
        with pytest.raises(DependencyUnavailable):
            await PostgresStorage(pool, "").get_link(DEFAULT_WORKSPACE, "abc1234")
        assert pool.breaker.state is BreakerState.CLOSED
        await pool.check()


async def test_closing_is_bounded_while_the_server_is_stopped(server: Server) -> None:
    database = server.make_database()
    pool = Postgres(database.url("waypost_api"), command_timeout=20)
    await pool.start()
    began = asyncio.Event()

    async def sleep() -> None:
        async with pool.connection() as session:
            began.set()
            await session.execute("SELECT pg_sleep(30)")

    async with pool.connection():
        pass
    task = asyncio.create_task(sleep())
    await began.wait()
    server.signal_all(signal.SIGSTOP)
    try:
        start = time.monotonic()
        await pool.aclose(timeout=0.3)
        # Far below the 20 s that the statement has.
        assert time.monotonic() - start < 0.3 + 0.5 + BUSY_SECONDS
        with pytest.raises(DependencyUnavailable):
            await task
        assert pool.in_use == 0
    finally:
        server.signal_all(signal.SIGCONT)


async def test_the_change_feed_survives_a_stopped_server(server: Server) -> None:
    database = server.make_database()
    async with following(database.url("waypost_redirect")) as follower:
        await follower.heartbeat()
        server.signal_all(signal.SIGSTOP)
        try:
            await asyncio.sleep(0.2)  # for what it had said before
            heard = follower.feed.last_heartbeat
            await asyncio.sleep(0.7)
            assert follower.feed.last_heartbeat == heard
        finally:
            server.signal_all(signal.SIGCONT)
        await until(lambda: follower.feed.epoch == 2, HEAL_SECONDS)
        await follower.heartbeat()
        assert follower.gaps == 2


async def test_who_waits_behind_connections_that_are_only_being_made_is_not_too_many(server: Server) -> None:
    """The first burst after a start: more callers than connections, and none of those there yet."""
    database = server.make_database()
    patience = 0.05
    async with proxy_to(database.cluster.socket) as proxy:
        pool = Postgres(
            proxy.url(database.url("waypost_api")), application_name="slow", max_size=2, acquire_timeout=patience
        )

        async def ask() -> object:
            async with pool.connection() as session:
                return await session.fetchval("SELECT 1")

        hold = proxy.hold("slow")
        asking = [asyncio.create_task(ask()) for _ in range(6)]
        await hold.caught.wait()
        # Longer than they would wait for connections that others use.
        await asyncio.sleep(4 * patience)
        hold.release()
        assert await asyncio.gather(*asking) == [1] * 6
        await pool.aclose()
