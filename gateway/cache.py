"""The in-process cache of redirects, kept right by the change feed.

An entry is used without asking only while the feed vouches for it: it was read in the feed's present epoch, and the
feed's last heartbeat is young. After a gap, entries stay but are read again before use. While the database does not
answer, an entry serves on until it is `max_stale` seconds older than the last time it was known to be right.

A change removes the entry and *poisons* a read that is under way: a read that began before the change and ends after it
is done again, so that neither the cache nor those who wait for that read ever see the old target.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from waypost.errors import DependencyUnavailable
from waypost.model import Redirect
from waypost.ports import RedirectReader

# An entry's own objects, beside the bytes of its strings; measured with tracemalloc, rounded up.
_ENTRY_BYTES = 700

FEED_TIMEOUT = 0.9
"""Seconds without a heartbeat after which the cache asks before it answers: a change is seen within one second."""


class Feed(Protocol):
    """What the cache must know of the change feed. Times in monotonic seconds."""

    @property
    def epoch(self) -> int:
        """Rises when changes may have been missed."""
        ...

    @property
    def last_heartbeat(self) -> float:
        """All changes committed before this time have been delivered; -inf before the first."""
        ...


@dataclass(slots=True)
class _Entry:
    redirect: Redirect | None
    epoch: int
    read_at: float
    size: int


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Redirect | None]
    min_version: int = 0


class CacheMetrics:
    """`cache_requests_total{result}` and the size of the cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter("cache_requests_total", "Look-ups of a short code by result.", ["result"], registry=registry)
        self.hit = requests.labels("hit")
        self.negative = requests.labels("negative")
        self.miss = requests.labels("miss")
        self.coalesced = requests.labels("coalesced")
        self.stale = requests.labels("stale")
        self.entries = Gauge("cache_entries", "Cached short codes.", registry=registry)
        self.bytes = Gauge("cache_bytes", "Memory of the cached entries, about.", registry=registry)
        self.poisoned = Counter(
            "cache_poisoned_reads_total", "Reads done again since a change overtook them.", registry=registry
        )


class RedirectCache:
    """Answers which redirect a code has, mostly from memory.

    `max_bytes` bounds its memory; the least recently used entries go first. Times in seconds.
    """

    def __init__(
        self,
        reader: RedirectReader,
        feed: Feed,
        metrics: CacheMetrics,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_stale: float = 600.0,
        negative_ttl: float = 1.0,
        feed_timeout: float = FEED_TIMEOUT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._feed = feed
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._max_stale = max_stale
        self._negative_ttl = negative_ttl
        self._feed_timeout = feed_timeout
        self._monotonic = monotonic
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._bytes = 0

    async def lookup(self, short_code: str) -> Redirect | None:
        """The redirect of a code, None if there is no such link.

        Raises `DependencyUnavailable` when it must ask, and nobody answers, and nothing young enough is cached.
        """
        entry = self._entries.get(short_code)
        if entry is not None and self._vouched(entry):
            self._entries.move_to_end(short_code)
            (self._metrics.hit if entry.redirect else self._metrics.negative).inc()
            return entry.redirect
        flight = self._flights.get(short_code)
        if flight is None:
            self._metrics.miss.inc()
            flight = _Flight(asyncio.create_task(self._read(short_code), name="cache_read"))
            flight.task.add_done_callback(_retrieve)
            self._flights[short_code] = flight
        else:
            self._metrics.coalesced.inc()
        try:
            # Shielded: one caller's going away must not fail the others who wait for the same read.
            return await asyncio.shield(flight.task)
        except DependencyUnavailable:
            entry = self._entries.get(short_code)
            if entry is None or entry.redirect is None or self._unconfirmed_for(entry) > self._max_stale:
                raise
            self._metrics.stale.inc()
            return entry.redirect

    def put(self, redirect: Redirect) -> None:
        """Takes what this process itself has just committed; older reads under way are poisoned."""
        self._poison(redirect.short_code, redirect.version)
        self._store(redirect.short_code, redirect, self._feed.epoch, self._monotonic())

    def invalidate(self, short_code: str, version: int) -> None:
        """A change made `version` of this link: older ones are wrong from now on."""
        self._poison(short_code, version)
        entry = self._entries.get(short_code)
        if entry is not None and _version(entry.redirect) < version:
            self._drop(short_code)

    def _poison(self, short_code: str, version: int) -> None:
        flight = self._flights.get(short_code)
        if flight is not None:
            flight.min_version = max(flight.min_version, version)

    def _vouched(self, entry: _Entry) -> bool:
        now = self._monotonic()
        if entry.redirect is None:
            return now - entry.read_at < self._negative_ttl
        return entry.epoch == self._feed.epoch and now - self._feed.last_heartbeat < self._feed_timeout

    def _unconfirmed_for(self, entry: _Entry) -> float:
        known = entry.read_at
        if entry.epoch == self._feed.epoch:
            known = max(known, self._feed.last_heartbeat)
        return self._monotonic() - known

    async def _read(self, short_code: str) -> Redirect | None:
        try:
            while True:
                # Before the read: what changes during it must find the entry in question.
                epoch, read_at = self._feed.epoch, self._monotonic()
                redirect = await self._reader.read_redirect(short_code)
                if _version(redirect) >= self._flights[short_code].min_version:
                    break
                self._metrics.poisoned.inc()
            self._store(short_code, redirect, epoch, read_at)
            return redirect
        finally:
            del self._flights[short_code]

    def _store(self, short_code: str, redirect: Redirect | None, epoch: int, read_at: float) -> None:
        present = self._entries.get(short_code)
        if present is not None:
            if _version(present.redirect) > _version(redirect):
                return
            self._drop(short_code)
        size = _ENTRY_BYTES + len(short_code) + (len(redirect.url) if redirect else 0)
        self._entries[short_code] = _Entry(redirect, epoch, read_at, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.size
        self._metrics.entries.set(len(self._entries))
        self._metrics.bytes.set(self._bytes)

    def _drop(self, short_code: str) -> None:
        self._bytes -= self._entries.pop(short_code).size


def _retrieve(task: asyncio.Task[Redirect | None]) -> None:
    """Looks at a read's outcome, so that one whose waiters have all gone away does not end as an unheard exception."""
    if not task.cancelled():
        task.exception()


def _version(redirect: Redirect | None) -> int:
    return redirect.version if redirect is not None else 0
