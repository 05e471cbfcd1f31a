"""A blocked link answers 451 in every way: at once by the gateway that blocks it, by others within a second.

Two replicas of the redirect path on one database, each behind a proxy that can cut or hold its change feed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import httpx
import pytest
from prometheus_client import CollectorRegistry

from gateway.abuse.addresses import ShortAddresses
from gateway.abuse.decisions import Decisions
from gateway.abuse.handlers import AbuseHandlers
from gateway.cache import CacheMetrics, RedirectCache
from gateway.convert import resolve_to_proto
from gateway.following import RedirectHandlers
from gateway.visits import VisitMetrics
from gateway.web import web_app
from tests.integration.storage.conftest import PUBLIC_URL
from tests.support.abuse import operator
from tests.support.links import new_link, store
from tests.support.postgres import Database
from tests.support.tcp_proxy import Proxy, proxy_to
from tests.support.waiting import until
from waypost.adapters.change_feed import PostgresChangeFeed
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_abuse import PostgresAbuse, PostgresReportIntake
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_redirects import PostgresRedirectReader
from waypost.clock import ServerClock
from waypost.rpc.health import Health
from waypost.telemetry import Metrics

FEED = "waypost-changes"
SEEN_SECONDS = 1.0
TARGET = "https://example.org/"
SLACKBOT = "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"


@dataclass(frozen=True, slots=True)
class Replica:
    """One gateway's redirects, previews and `ResolveLink`, and its operators' calls."""

    proxy: Proxy
    feed: PostgresChangeFeed
    cache: RedirectCache
    visitors: RedirectHandlers
    operators: AbuseHandlers
    registry: CollectorRegistry
    http: httpx.AsyncClient

    async def status(self, path: str = "/abc1234", method: str = "GET", **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await self.http.request(method, path, headers=sent)).status_code

    async def statuses(self, code: str = "abc1234") -> dict[str, int]:
        """What a link answers in every way that it can be asked."""
        resolved = resolve_to_proto(code, await self.visitors.look(code))
        return {
            "HEAD": await self.status(f"/{code}", "HEAD"),
            "GET": await self.status(f"/{code}"),
            "slash": await self.status(f"/{code}/"),
            "query": await self.status(f"/{code}?a=b"),
            "browser": await self.status(f"/{code}", accept="text/html"),
            "robot": await self.status(f"/{code}", user_agent=SLACKBOT),
            "preview": await self.status(f"/{code}+", accept="text/html"),
            "preview as JSON": await self.status(f"/{code}+", accept="application/json"),
            "ResolveLink": resolved.http_status,
        }

    async def warm(self) -> None:
        """Has the link cached, and trusts that."""
        began = asyncio.get_running_loop().time()
        await until(lambda: self.feed.last_heartbeat > began)
        assert await self.status() == 302
        hits = self._hits()
        assert await self.status() == 302
        assert self._hits() == hits + 1

    def _hits(self) -> float:
        return self.registry.get_sample_value("cache_requests_total", {"result": "hit"}) or 0.0


async def start(stack: AsyncExitStack, database: Database) -> Replica:
    proxy = await stack.enter_async_context(proxy_to(database.cluster.socket))
    url = proxy.url(database.url("waypost_redirect"))
    pool = await stack.enter_async_context(Postgres(url, "waypost_redirect", command_timeout=0.5))
    operators = await stack.enter_async_context(Postgres(database.url("waypost_operator"), max_size=2))
    clock, registry = ServerClock(), CollectorRegistry()
    feed = PostgresChangeFeed(
        url,
        "waypost_redirect",
        on_change=lambda short_code, version: cache.invalidate(short_code, version),  # noqa: PLW0108 - made below
        on_gap=lambda: None,
        clock=clock,
    )
    reader = PostgresRedirectReader(pool)
    cache = RedirectCache(reader, feed, CacheMetrics(registry))
    visitors = RedirectHandlers(cache, reader, clock)
    store = PostgresAbuse(operators, PUBLIC_URL)
    app = web_app(visitors, Health("gateway", [], [], Metrics("gateway")), VisitMetrics(registry), PUBLIC_URL)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=PUBLIC_URL)
    await stack.enter_async_context(http)
    following = asyncio.create_task(feed.run())

    async def stop() -> None:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    stack.push_async_callback(stop)
    handlers = AbuseHandlers(PostgresReportIntake(pool), store, Decisions(store, cache), ShortAddresses(PUBLIC_URL))
    return Replica(proxy, feed, cache, visitors, handlers, registry, http)


@pytest.fixture
async def replicas(database: Database) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two on one database: operators speak to the first."""
    async with AsyncExitStack() as stack:
        yield await start(stack, database), await start(stack, database)


async def seen_after(replica: Replica, old: int, new: int, since: float) -> float:
    """Asks until the answer changes; the seconds from `since` to the last question that was answered as before."""
    last_old = since
    while True:
        asked = time.monotonic()
        status = await replica.status()
        if status == new:
            break
        assert status == old
        last_old = asked
        assert asked - since < 5, "it is never seen"
        await asyncio.sleep(0.004)
    # It never goes back.
    for _ in range(20):
        assert await replica.status() == new
    return last_old - since


async def change(replicas: tuple[Replica, Replica], *, block: bool) -> float:
    """Blocks or unblocks by the first replica, which knows at once; returns when that was acknowledged."""
    decide = replicas[0].operators.block if block else replicas[0].operators.unblock
    await decide("abc1234", "a reason", operator())
    acknowledged = time.monotonic()
    assert await replicas[0].status() == (451 if block else 302)
    return acknowledged


@pytest.mark.parametrize("trouble", ["none", "cut", "held"])
async def test_a_block_and_its_end_are_seen_within_a_second(
    replicas: tuple[Replica, Replica], storage: PostgresStorage, trouble: str
) -> None:
    first, second = replicas
    await store(storage, new_link())
    for block, old, new in ((True, 302, 451), (False, 451, 302)):
        for replica in replicas if block else ():
            await replica.warm()
        if block and trouble == "cut":
            second.proxy.refuse(FEED)
            assert second.proxy.cut(FEED) == 1
        elif block and trouble == "held":
            second.proxy.hold(FEED, both_ways=True)
        acknowledged = await change(replicas, block=block)
        late = await seen_after(second, old, new, acknowledged)
        print(f"\n{'block' if block else 'unblock'}, feed trouble {trouble}: seen {late * 1000:.0f} ms late")
        assert late < SEEN_SECONDS
        expected = dict.fromkeys(await first.statuses(), new)
        if not block:
            # A preview is a page of its own.
            expected |= {"preview": 200, "preview as JSON": 200}
        assert await first.statuses() == expected
        assert await second.statuses() == expected


async def test_the_replica_that_blocks_needs_nobody_to_tell_it(
    replicas: tuple[Replica, Replica], storage: PostgresStorage
) -> None:
    await store(storage, new_link())
    for replica in replicas:
        await replica.warm()
    # Nothing reaches it from the feed, and for most of a second it does not know that.
    replicas[0].proxy.hold(FEED, both_ways=True)
    await change(replicas, block=True)
    assert await replicas[0].statuses() == dict.fromkeys(await replicas[0].statuses(), 451)
    await change(replicas, block=False)


async def test_a_link_with_a_number_of_clicks_loses_none_while_it_is_blocked(
    replicas: tuple[Replica, Replica], storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link(max_clicks=3))
    for replica in replicas:
        assert await replica.status() == 302
    await change_limited(replicas, block=True)
    for replica in replicas:
        # Not even the entry in the cache is asked: a click is taken in the database or not at all.
        assert await replica.status() == 451
        assert set((await replica.statuses()).values()) == {451}
    assert await owner.fetchval("SELECT clicks_used FROM click_budgets") == 2
    await change_limited(replicas, block=False)
    # The other replica is told within a second; this one knows.
    assert await replicas[0].status() == 302
    assert await replicas[0].status() == 410


async def change_limited(replicas: tuple[Replica, Replica], *, block: bool) -> None:
    decide = replicas[0].operators.block if block else replicas[0].operators.unblock
    await decide("abc1234", "a reason", operator())


async def test_previews_and_errors_of_a_blocked_link_tell_no_destination(
    replicas: tuple[Replica, Replica], storage: PostgresStorage
) -> None:
    await store(storage, new_link(url="https://secret-target.example/"))
    await replicas[0].operators.block("abc1234", "phishing of a bank", operator())
    for path in ("/abc1234", "/abc1234+"):
        for accept in ("text/html", "application/json", "application/problem+json"):
            answer = await replicas[0].http.get(path, headers={"accept": accept})
            assert answer.status_code == 451
            assert "secret-target" not in answer.text
            # The reason is for operators and the link's owner.
            assert "bank" not in answer.text
            assert "location" not in answer.headers
    looked = await replicas[0].visitors.look("abc1234")
    assert (looked.status, looked.location) == (451, "")
