"""A redirect cache with a store, a feed and a clock that tests move."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.cache import CacheMetrics, RedirectCache
from tests.support.waiting import turn
from waypost.model import Redirect

CODE = "abc1234"
MAX_STALE = 600.0
MADE = datetime(2026, 6, 1, tzinfo=UTC)


class Hold:
    """Keeps one read from ending; what it will answer was settled when it began."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None


class Store:
    """The truth, as `RedirectReader`."""

    def __init__(self) -> None:
        self.links: dict[str, Redirect] = {}
        self.reads: list[str] = []
        self.holds: list[Hold] = []
        self.error: Exception | None = None

    def hold(self) -> Hold:
        """The next read that nobody holds yet will be held."""
        self.holds.append(Hold())
        return self.holds[-1]

    def write(self, version: int, short_code: str = CODE, url: str | None = None) -> Redirect:
        """Makes this the version of a link."""
        self.links[short_code] = redirect(version, short_code, url)
        return self.links[short_code]

    async def read_redirect(self, short_code: str) -> Redirect | None:
        self.reads.append(short_code)
        seen, error = self.links.get(short_code), self.error
        if self.holds:
            hold = self.holds.pop(0)
            hold.began.set()
            await hold.go.wait()
            error = hold.error
        if error is not None:
            raise error
        return seen


class Feed:
    """A change feed that is well until a test says otherwise."""

    def __init__(self, time: Time) -> None:
        self.epoch = 1
        self.stopped_at: float | None = None
        self._time = time

    @property
    def last_heartbeat(self) -> float:
        return self._time.now if self.stopped_at is None else self.stopped_at

    def stop(self) -> None:
        """No heartbeat from now on."""
        self.stopped_at = self._time.now

    def gap(self) -> None:
        """A new connection."""
        self.epoch += 1
        self.stopped_at = None


class Time:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A cache with everything around it."""

    def __init__(self, max_bytes: int = 1_000_000, max_stale: float = MAX_STALE) -> None:
        self.time = Time()
        self.store = Store()
        self.feed = Feed(self.time)
        self.registry = CollectorRegistry()
        self.cache = RedirectCache(
            self.store,
            self.feed,
            CacheMetrics(self.registry),
            max_bytes=max_bytes,
            max_stale=max_stale,
            monotonic=self.time,
        )

    async def version(self, short_code: str = CODE) -> int:
        """The version that a look-up gives; 0: no such link."""
        found = await self.cache.lookup(short_code)
        return found.version if found is not None else 0

    def begin(self, short_code: str = CODE) -> asyncio.Task[int]:
        """A look-up in a task of its own."""
        return asyncio.create_task(self.version(short_code))

    def create(self, short_code: str = CODE) -> None:
        """What a create of this process does."""
        since = self.cache.mark()
        self.cache.put(self.store.write(1, short_code), since)

    def told(self, version: int, short_code: str = CODE) -> None:
        """A link changes, and the feed says so."""
        self.store.write(version, short_code)
        self.cache.invalidate(short_code, version)

    def sample(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def counted(self, result: str) -> float:
        """How many look-ups had this result."""
        return self.sample("cache_requests_total", result=result)


def redirect(version: int = 1, short_code: str = CODE, url: str | None = None) -> Redirect:
    url = url or f"https://example.org/{version}"
    return Redirect(short_code, url, 302, version, blocked=False, deleted=False, expires_at=None, created_at=MADE)


async def unheard(work: Coroutine[Any, Any, None]) -> list[str]:
    """What the loop complains of while `work` runs: exceptions that nobody has looked at."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    await work
    await turn()
    gc.collect()
    return complaints
