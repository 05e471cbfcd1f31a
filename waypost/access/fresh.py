"""A small cache whose answers are never older than a bound, however busy or idle it is."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from waypost.errors import DependencyUnavailable, WaypostError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_TRIES = 3


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    read_at: float
    """When its read began: what was committed before that is in it."""


class FreshCache(Generic[K, V]):
    """Reads through: an answer is at most `max_age` seconds old, measured from the beginning of its read.

    One read at a time for each key, shared by all who ask. An entry that is used past half of its age is read again in
    the background, so that who asks often never waits. At most `size` entries; the least recently used goes. When the
    store does not answer, the error is the caller's: nothing is served beyond its age. `turn`: what a read waits for
    before it begins. `keeps`: whether a value is kept at all; one that is not is read for whoever asks just now.
    """

    def __init__(
        self,
        read: Callable[[K], Awaitable[V]],
        *,
        max_age: float,
        size: int,
        now: Callable[[], float] = time.monotonic,
        turn: Callable[[K], AbstractAsyncContextManager[None]] | None = None,
        keeps: Callable[[V], bool] = lambda _: True,
    ) -> None:
        self._read = read
        self._max_age = max_age
        self._size = size
        self._now = now
        self._turn = turn or (lambda _: nullcontext())
        self._keeps = keeps
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._reads: dict[K, asyncio.Task[_Entry[V]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def last(self, key: K) -> V | None:
        """What was last read and is still kept, however old; None also where that is what was read."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def reading(self, key: K) -> bool:
        """Whether it is being read at this moment: who asks now joins in."""
        return key in self._reads

    async def get(self, key: K) -> V:
        """The value; raises what the read raises, `DependencyUnavailable` if every answer is too old when it comes."""
        entry = self._entries.get(key)
        if entry is not None:
            age = self._now() - entry.read_at
            if age < self._max_age:
                self._entries.move_to_end(key)
                if age > self._max_age / 2 and key not in self._reads:
                    self._begin(key)
                return entry.value
        for _ in range(_TRIES):
            # Perhaps somebody else's, which began a while ago.
            entry = await asyncio.shield(self._reads.get(key) or self._begin(key))
            if self._now() - entry.read_at < self._max_age:
                return entry.value
        raise DependencyUnavailable("postgres")

    def _begin(self, key: K) -> asyncio.Task[_Entry[V]]:
        task = asyncio.create_task(self._fill(key), name="credentials")
        task.add_done_callback(_look_at)
        self._reads[key] = task
        return task

    async def _fill(self, key: K) -> _Entry[V]:
        try:
            async with self._turn(key):
                began = self._now()
                value = await self._read(key)
        finally:
            self._reads.pop(key, None)
        entry = _Entry(value, began)
        if not self._keeps(value):
            self._entries.pop(key, None)
            return entry
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return entry


def _look_at(task: asyncio.Task[_Entry[V]]) -> None:
    """Takes note of an error that perhaps nobody waits for."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, WaypostError):
        structlog.get_logger().error("reading credentials failed", exc_info=error)
