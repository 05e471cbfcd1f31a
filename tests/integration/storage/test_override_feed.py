"""Every replica sees a change of overrides within a second: told, or by asking; and goes on with what it knows."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ratelimiter.overrides.live import LiveOverrides
from ratelimiter.requests import LimitNumbers
from tests.integration.storage.test_overrides import new, put
from tests.support.postgres import Database, running_server
from tests.support.tcp_proxy import proxy_to
from tests.support.waiting import until
from waypost.adapters import override_feed
from waypost.adapters.override_feed import PostgresOverrideFeed
from waypost.adapters.overrides import followed_overrides
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_overrides import PostgresOverrides
from waypost.clock import ServerClock
from waypost.errors import DependencyUnavailable
from waypost.overrides import LimitUnit, LiveOverride, NewOverride, OverrideNumbers
from waypost.rpc.health import Check

PATIENCE = 5.0
"""Seconds: one, and what a busy machine adds. It waits for nobody but the database, and is told or asks by itself."""
UNLIMITED = LimitNumbers(None, 0)


class Replica:
    """A replica's overrides, as its feed tells of them. `told` counts."""

    def __init__(self, url: str, interval: float = 0.25) -> None:
        self.clock = ServerClock()
        self.live = LiveOverrides(self.clock)
        self.told = 0
        self.feed = PostgresOverrideFeed(url, "waypost_limiter", self._tell, self.clock, interval)

    def _tell(self, overrides: Mapping[bytes, LiveOverride]) -> None:
        self.told += 1
        self.live.replace(overrides)

    def find(self, override: NewOverride) -> LimitNumbers | None:
        return self.live.find(override.domain, override.entries)

    async def sees(self, override: NewOverride, numbers: LimitNumbers | None, seconds: float = PATIENCE) -> None:
        await until(lambda: self.find(override) == numbers, seconds)


@asynccontextmanager
async def following(*replicas: Replica) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(replica.feed.run()) for replica in replicas]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)


@asynccontextmanager
async def storing(url: str) -> AsyncIterator[PostgresOverrides]:
    async with Postgres(url, max_size=2) as pool:
        yield PostgresOverrides(pool)


async def fails(check: Check) -> bool:
    try:
        await check.probe()
    except ConnectionError:
        return True
    return False


async def accepts(store: PostgresOverrides, override: NewOverride) -> bool:
    try:
        await put(store, override)
    except DependencyUnavailable:
        return False
    return True


async def delete(store: PostgresOverrides, override: NewOverride) -> None:
    async with store.unit_of_work() as work:
        stored = await work.overrides.find(override)
        assert stored is not None
        await work.overrides.delete(stored.override_id)
        await work.commit()


async def test_every_replica_sees_each_change_within_a_second(database: Database) -> None:
    url = database.url("waypost_limiter")
    replicas = [Replica(url), Replica(url)]
    async with storing(url) as store:
        await put(store, new("before"))
        async with following(*replicas):
            for replica in replicas:
                # The first connection takes as long as it takes.
                await replica.sees(new("before"), LimitNumbers(10, 60_000_000), seconds=10)
                assert replica.find(new()) is None
            bucket = OverrideNumbers(0, LimitUnit.HOUR, 7)
            for change, numbers in (
                (new(), LimitNumbers(10, 60_000_000)),
                (new(numbers=None), UNLIMITED),
                (new(numbers=bucket), LimitNumbers(0, 3_600_000_000, 7)),
            ):
                await put(store, change)
                await asyncio.gather(*(replica.sees(new(), numbers) for replica in replicas))
            await delete(store, new())
            await asyncio.gather(*(replica.sees(new(), None) for replica in replicas))
            assert all(replica.find(new("before")) == LimitNumbers(10, 60_000_000) for replica in replicas)
            assert [replica.live.count() for replica in replicas] == [1, 1]


async def test_changes_are_told_and_not_waited_for(database: Database) -> None:
    url = database.url("waypost_limiter")
    # Whoever only asked would ask once an hour.
    replica = Replica(url, interval=3600)
    async with storing(url) as store, following(replica):
        await until(lambda: replica.told == 1)
        await put(store, new())
        await replica.sees(new(), LimitNumbers(10, 60_000_000))


async def test_a_replica_that_hears_nothing_asks(
    database: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(override_feed, "CHANNEL", "nobody_speaks_here")
    url = database.url("waypost_limiter")
    replica = Replica(url)
    async with storing(url) as store, following(replica):
        await until(lambda: replica.told == 1)
        await put(store, new())
        await replica.sees(new(), LimitNumbers(10, 60_000_000))
        # Nor does it matter how the change was made.
        await owner.execute("TRUNCATE limit_overrides")
        await replica.sees(new(), None)
        told = replica.told
        heartbeat = replica.feed.last_heartbeat
        await until(lambda: replica.feed.last_heartbeat > heartbeat)
        assert replica.told == told, "without a change nothing is read"


async def test_changes_that_come_one_upon_another_end_in_the_last(database: Database) -> None:
    url = database.url("waypost_limiter")
    replica = Replica(url, interval=0.01)
    async with storing(url) as store, following(replica):
        for number in range(40):
            await put(store, new("a", numbers=OverrideNumbers(number, LimitUnit.SECOND)))
        await replica.sees(new("a"), LimitNumbers(39, 1_000_000))


async def test_more_than_one_reading_holds_are_all_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(override_feed, "AT_ONCE", 3)
    url = database.url("waypost_limiter")
    replica = Replica(url)
    async with storing(url) as store:
        for number in range(9):
            await put(store, new(str(number), domain=f"domain {number % 2}"))
        async with following(replica):
            await until(lambda: replica.told == 1)
            assert replica.live.count() == 9
            found = [replica.find(new(str(number), domain=f"domain {number % 2}")) for number in range(9)]
            assert found == [LimitNumbers(10, 60_000_000)] * 9
            assert replica.find(new("0", domain="domain 1")) is None


async def test_an_override_ends_by_the_databases_clock(database: Database, owner: asyncpg.Connection) -> None:
    url = database.url("waypost_limiter")
    replica = Replica(url)
    # As if this machine's clock were a day ahead.
    replica.clock.observe(datetime.now(UTC) + timedelta(days=1), time.monotonic(), time.monotonic())
    async with storing(url) as store:
        await put(store, new(expires_at=datetime.now(UTC) + timedelta(hours=1)))
        await put(store, new("b", expires_at=datetime.now(UTC) + timedelta(hours=1)))
        async with following(replica):
            await replica.sees(new(), LimitNumbers(10, 60_000_000), seconds=10)
            await owner.execute("UPDATE limit_overrides SET expires_at = clock_timestamp() + INTERVAL '0.2 s'")
            # Nobody tells of its end, and nobody needs to.
            await until(lambda: replica.told == 2, PATIENCE)
            await until(lambda: replica.live.count() == 0, PATIENCE)
            assert (replica.told, replica.find(new())) == (2, None)


async def test_a_cut_feed_goes_on_with_what_it_knew_and_catches_up(
    database: Database, owner: asyncpg.Connection
) -> None:
    url = database.url("waypost_limiter")
    replica = Replica(url)
    async with storing(url) as store, following(replica):
        await put(store, new())
        await replica.sees(new(), LimitNumbers(10, 60_000_000), seconds=10)
        feeds = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
        assert await owner.fetchval(f"{feeds} application_name = 'waypost-overrides'")
        assert replica.find(new()) == LimitNumbers(10, 60_000_000)
        await put(store, new(numbers=None))
        await replica.sees(new(), UNLIMITED)


async def test_a_connection_without_answers_is_given_up(database: Database) -> None:
    url = database.url("waypost_limiter")
    async with proxy_to(database.cluster.socket) as proxy, storing(url) as store:
        replica = Replica(proxy.url(url))
        async with following(replica):
            await put(store, new())
            await replica.sees(new(), LimitNumbers(10, 60_000_000), seconds=10)
            hold = proxy.hold("waypost-overrides")
            proxy.refuse("waypost-overrides")
            await hold.caught.wait()
            await until(lambda: not proxy.names())
            await put(store, new(numbers=None))
            hold.release()
            proxy.admit("waypost-overrides")
            await replica.sees(new(), UNLIMITED)


async def test_a_server_that_is_away_leaves_the_last_ones_in_force_and_health_says_so() -> None:
    with running_server() as server:
        url = server.make_database().url("waypost_limiter")
        clock = ServerClock()
        live = LiveOverrides(clock)
        async with storing(url) as store, followed_overrides(url, "test", live.replace, clock) as followed:
            (run,), (check,) = followed.tasks, followed.checks
            assert (check.name, check.required) == ("overrides", False)
            await put(store, new())
            task = asyncio.create_task(run())
            try:
                await until(lambda: live.count() == 1)
                await check.probe()
                await asyncio.to_thread(server.stop, signal.SIGQUIT)
                await until(lambda: fails(check))
                assert live.find("shop", new().entries) == LimitNumbers(10, 60_000_000)
                await asyncio.to_thread(server.start)
                await until(lambda: accepts(store, new(numbers=None)))
                await until(lambda: live.find("shop", new().entries) == UNLIMITED, PATIENCE)
                await check.probe()
                assert not task.done()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def test_without_a_database_there_is_nothing_to_follow() -> None:
    async with followed_overrides("", "test", lambda _: None, ServerClock()) as followed:
        assert (followed.store, followed.tasks, followed.checks) == (None, (), ())


async def test_without_a_server_it_waits_and_can_be_cancelled() -> None:
    replica = Replica("postgresql://x@/x?host=/nonexistent")
    async with following(replica):
        await asyncio.sleep(0)
        assert (replica.feed.last_heartbeat, replica.told) == (float("-inf"), 0)
