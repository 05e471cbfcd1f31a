"""The in-process cache of redirects, kept right by the change feed.

An entry is used without asking only while the feed vouches for it: it was read in the feed's present epoch, and the
feed's last heartbeat is young. After a gap, entries stay but are read again before use. While the database does not
answer, an entry serves on until it is `max_stale` seconds older than the last time it was known to be right.

A change removes the entry and *poisons* a read that is under way: a read that began before the change and ends after it
is done again, so that neither the cache nor those who wait for that read ever see the old target. A gap does the same
to every read. What this process has committed itself is kept only if no change was heard of meanwhile: the next change
of the same link may have been told before the commit came back.

Codes without a link are kept apart, for a second: whoever tries out codes pushes no link out of memory. And an address
that has tried too many is not looked up for any more; what is cached it gets like everybody else.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from waypost.access.failures import Failures
from waypost.errors import DependencyUnavailable, RateLimited
from waypost.model import Redirect
from waypost.ports import RedirectReader

# An entry's own objects, beside its URL; measured with tracemalloc, rounded up.
_ENTRY_BYTES = 700
_NEGATIVE_BYTES = 200
_NEVER = float("-inf")

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


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment before a transaction began: the epoch, the changes heard of and the monotonic time of then."""

    epoch: int
    changes: int
    at: float


@dataclass(slots=True)
class _Entry:
    redirect: Redirect
    epoch: int
    read_at: float
    size: int


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Redirect | None]
    min_version: int = 0
    """The newest version heard of since the read began that is under way."""


class CacheMetrics:
    """`cache_requests_total{result}` and the size of the cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter("cache_requests_total", "Look-ups of a short code by result.", ["result"], registry=registry)
        self.hit = requests.labels("hit")
        self.negative = requests.labels("negative")
        self.miss = requests.labels("miss")
        self.coalesced = requests.labels("coalesced")
        self.stale = requests.labels("stale")
        self.refused = requests.labels("refused")
        self.entries = Gauge("cache_entries", "Cached short codes.", registry=registry)
        self.bytes = Gauge("cache_bytes", "Memory of the cached entries, about.", registry=registry)
        self.poisoned = Counter(
            "cache_poisoned_reads_total", "Reads done again since a change overtook them.", registry=registry
        )


class RedirectCache:
    """Answers which redirect a code has, mostly from memory.

    `max_bytes` bounds its memory; the least recently used entries go first. `unknown` bounds the look-ups of each
    address that find no link; None: nothing does. Times in seconds.
    """

    def __init__(
        self,
        reader: RedirectReader,
        feed: Feed,
        metrics: CacheMetrics,
        *,
        unknown: Failures | None = None,
        max_bytes: int = 64 * 1024 * 1024,
        max_stale: float = 600.0,
        negative_ttl: float = 1.0,
        feed_timeout: float = FEED_TIMEOUT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._feed = feed
        self._metrics = metrics
        self._unknown = unknown
        self._max_bytes = max_bytes
        self._max_stale = max_stale
        self._negative_ttl = negative_ttl
        self._feed_timeout = feed_timeout
        self._monotonic = monotonic
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # When each code was found to have no link, the oldest finding first.
        self._negatives: OrderedDict[str, float] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._bytes = 0
        self._changes = 0
        # The last heartbeat seen in each epoch: until then its entries are known to have been right.
        self._heartbeats: dict[int, float] = {}

    async def lookup(self, short_code: str, address: Callable[[], str] | None = None) -> Redirect | None:
        """The redirect of a code, None if there is no such link.

        `address` tells who asks; it is called only if the cache knows nothing of the code. Raises
        `DependencyUnavailable` when it must ask, and nobody answers, and nothing young enough is cached, and
        `RateLimited` when it would have to ask for an address that has asked for too many links that are none.
        """
        now = self._monotonic()
        entry = self._entries.get(short_code)
        if entry is not None:
            if self._vouched(entry, now):
                self._entries.move_to_end(short_code)
                self._metrics.hit.inc()
                return entry.redirect
        elif now - self._negatives.get(short_code, _NEVER) < self._negative_ttl:
            self._metrics.negative.inc()
            return None
        flight = self._flights.get(short_code)
        if flight is None:
            # A link that is there, if not vouched for, is no guess.
            asker = self._admit(address()) if entry is None and address is not None else None
            self._metrics.miss.inc()
            flight = _Flight(asyncio.create_task(self._read(short_code), name="cache_read"))
            flight.task.add_done_callback(partial(self._ended, asker))
            self._flights[short_code] = flight
        else:
            self._metrics.coalesced.inc()
        try:
            # Shielded: one caller's going away must not fail the others who wait for the same read.
            return await asyncio.shield(flight.task)
        except DependencyUnavailable:
            entry = self._entries.get(short_code)
            if entry is None or self._unconfirmed_for(entry) > self._max_stale:
                raise
            self._metrics.stale.inc()
            return entry.redirect

    def _admit(self, address: str) -> str | None:
        """Lets a look-up of an unknown code begin for this address; whom to tell of its end, None: nobody."""
        if self._unknown is None:
            return None
        try:
            self._unknown.begin(address)
        except RateLimited:
            self._metrics.refused.inc()
            raise
        return address

    def _ended(self, asker: str | None, task: asyncio.Task[Redirect | None]) -> None:
        """A read is over, also one whose waiters have all gone away, whose error nobody else would look at."""
        found_none = not task.cancelled() and task.exception() is None and task.result() is None
        if asker is not None and self._unknown is not None:
            self._unknown.end(asker, failed=found_none)

    def mark(self) -> Mark:
        """To be taken before a transaction whose result is `put`."""
        return Mark(self._feed.epoch, self._changes, self._monotonic())

    def put(self, redirect: Redirect, since: Mark) -> None:
        """Takes what this process itself has committed in a transaction that began after `since`.

        Older reads under way are poisoned. It is not kept if any change was heard of since then.
        """
        self._outdate(redirect.short_code, redirect.version)
        if since.changes == self._changes:
            self._store(redirect.short_code, redirect, since.epoch, since.at)

    def invalidate(self, short_code: str, version: int) -> None:
        """A change made `version` of this link: older ones are wrong from now on."""
        self._changes += 1
        self._outdate(short_code, version)

    def _outdate(self, short_code: str, version: int) -> None:
        flight = self._flights.get(short_code)
        if flight is not None:
            flight.min_version = max(flight.min_version, version)
        entry = self._entries.get(short_code)
        if entry is not None and entry.redirect.version < version:
            self._drop(short_code)
        self._drop_negative(short_code)

    def _vouched(self, entry: _Entry, now: float) -> bool:
        epoch, heartbeat = self._feed.epoch, self._feed.last_heartbeat
        if epoch not in self._heartbeats:
            oldest = now - self._max_stale
            self._heartbeats = {e: at for e, at in self._heartbeats.items() if at >= oldest}
        self._heartbeats[epoch] = heartbeat
        return entry.epoch == epoch and now - heartbeat < self._feed_timeout

    def _unconfirmed_for(self, entry: _Entry) -> float:
        return self._monotonic() - max(entry.read_at, self._heartbeats.get(entry.epoch, _NEVER))

    async def _read(self, short_code: str) -> Redirect | None:
        flight = self._flights[short_code]
        try:
            while True:
                # Before the read: what changes during it must find the entry in question. What was heard of earlier, a
                # read that begins now sees, so it need not be held against it: a restored database may be behind.
                epoch, read_at, flight.min_version = self._feed.epoch, self._monotonic(), 0
                redirect = await self._reader.read_redirect(short_code)
                version = redirect.version if redirect is not None else 0
                # After a gap there may be callers waiting who came after a change that nobody has told us of.
                if version >= flight.min_version and epoch == self._feed.epoch:
                    break
                self._metrics.poisoned.inc()
            return self._store(short_code, redirect, epoch, read_at)
        finally:
            del self._flights[short_code]

    def _store(self, short_code: str, redirect: Redirect | None, epoch: int, read_at: float) -> Redirect | None:
        """Keeps what was read unless something newer is there; returns which of the two it is."""
        present = self._entries.get(short_code)
        if present is not None:
            # Within an epoch versions only rise; after a gap, what was read last is the truth.
            if present.epoch >= epoch and (redirect is None or present.redirect.version > redirect.version):
                return present.redirect
            self._drop(short_code)
        self._drop_negative(short_code)
        if redirect is None:
            self._negatives[short_code] = read_at
            self._bytes += _NEGATIVE_BYTES
        else:
            size = _ENTRY_BYTES + sys.getsizeof(redirect.url)
            self._entries[short_code] = _Entry(redirect, epoch, read_at, size)
            self._bytes += size
        self._shrink()
        return redirect

    def _shrink(self) -> None:
        over = self._monotonic() - self._negative_ttl
        while self._negatives and next(iter(self._negatives.values())) <= over:
            self._negatives.popitem(last=False)
            self._bytes -= _NEGATIVE_BYTES
        while self._bytes > self._max_bytes:
            if self._entries:
                self._bytes -= self._entries.popitem(last=False)[1].size
            else:
                self._negatives.popitem(last=False)
                self._bytes -= _NEGATIVE_BYTES
        self._metrics.entries.set(len(self._entries) + len(self._negatives))
        self._metrics.bytes.set(self._bytes)

    def _drop(self, short_code: str) -> None:
        self._bytes -= self._entries.pop(short_code).size

    def _drop_negative(self, short_code: str) -> None:
        if self._negatives.pop(short_code, None) is not None:
            self._bytes -= _NEGATIVE_BYTES
