"""The change feed: what a redirect depends on is told, in order with the heartbeat, and gaps are known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from tests.support.links import new_link, store
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.adapters.change_feed import PostgresChangeFeed
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_jobs import PostgresExpirySweep
from waypost.adapters.postgres_links import PostgresStorage
from waypost.clock import ServerClock


class Follower:
    """A feed with what it said."""

    def __init__(self, url: str) -> None:
        self.heard: list[tuple[str, int]] = []
        self.gaps = 0
        self.clock = ServerClock()
        self.feed = PostgresChangeFeed(url, "waypost_redirect", self._change, self._gap, self.clock, interval=0.01)
        self.fail = False

    def _change(self, code: str, version: int) -> None:
        if self.fail:
            self.fail = False
            raise RuntimeError("not now")
        self.heard.append((code, version))

    def _gap(self) -> None:
        self.gaps += 1

    async def heartbeat(self) -> None:
        """Waits for a heartbeat that begins after this call."""
        now = asyncio.get_running_loop().time()
        await until(lambda: self.feed.last_heartbeat > now)


@asynccontextmanager
async def following(url: str) -> AsyncIterator[Follower]:
    follower = Follower(url)
    task = asyncio.create_task(follower.feed.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def test_every_change_is_told_before_the_heartbeat_that_follows_it(
    database: Database, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link())
    async with following(database.url("waypost_redirect")) as follower:
        await follower.heartbeat()
        for number in range(2, 32):
            await owner.execute("UPDATE links SET original_url = original_url || 'x'")
            await follower.heartbeat()
            assert follower.heard[-1] == ("abc1234", number)
        assert (follower.feed.epoch, follower.gaps) == (1, 1)


async def test_only_what_a_redirect_depends_on_is_told(
    database: Database, storage: PostgresStorage, owner: asyncpg.Connection, sweeper: Postgres
) -> None:
    async with following(database.url("waypost_redirect")) as follower:
        await follower.heartbeat()
        await store(storage, new_link("made123", expires_at=datetime(2020, 1, 1, tzinfo=UTC)), event=True)
        assert await PostgresExpirySweep(sweeper, "https://way.example").expire_batch(10) == 1
        await owner.execute("UPDATE links SET destination_flags = '{shortener}'")
        await follower.heartbeat()
        assert follower.heard == []
        for change in (
            "original_url = 'https://example.org/b'",
            "redirect_status = 301",
            "blocked_at = now()",
            "blocked_at = NULL",
            "expires_at = NULL",
            "deleted_at = now()",
        ):
            await owner.execute(f"UPDATE links SET {change}")  # noqa: S608
        await follower.heartbeat()
        assert follower.heard == [("made123", version) for version in range(4, 10)]


async def test_a_lost_connection_is_a_gap(database: Database, owner: asyncpg.Connection) -> None:
    async with following(database.url("waypost_redirect")) as follower:
        await follower.heartbeat()
        feeds = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
        await owner.execute(f"{feeds} application_name = 'waypost-changes'")
        await until(lambda: follower.feed.epoch == 2, seconds=3)
        assert follower.gaps == 2
        await follower.heartbeat()


async def test_a_change_that_was_not_taken_is_a_gap(
    database: Database, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link())
    async with following(database.url("waypost_redirect")) as follower:
        await follower.heartbeat()
        follower.fail = True
        await owner.execute("UPDATE links SET deleted_at = now()")
        await until(lambda: follower.feed.epoch == 2, seconds=3)
        assert follower.gaps == 2


async def test_the_clock_follows_the_servers(database: Database) -> None:
    async with following(database.url("waypost_redirect")) as follower:
        now = time.monotonic()
        follower.clock.observe(datetime.now(UTC) + timedelta(hours=1), now, now)
        await follower.heartbeat()
        assert abs(follower.clock.now() - datetime.now(UTC)) < timedelta(seconds=1)


async def test_without_a_server_it_waits_and_can_be_cancelled() -> None:
    async with following("postgresql://x@/x?host=/nonexistent") as follower:
        await asyncio.sleep(0)
        assert (follower.feed.last_heartbeat, follower.feed.epoch) == (float("-inf"), 0)
