"""Operators' decisions: each in one transaction with its events and audit entries, and known to the cache at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.cache import RedirectCache
from gateway.lasting import Lasting
from gateway.transactions import Change
from waypost.abuse_ports import AbuseStore, AbuseWork

T = TypeVar("T")


class Decisions:
    """Carries decisions out, to their end even if their callers go away."""

    def __init__(self, store: AbuseStore, cache: RedirectCache) -> None:
        self._store = store
        self._cache = cache
        self._lasting = Lasting()

    async def run(self, decide: Callable[[AbuseWork], Awaitable[Change[T]]]) -> T:
        """Makes the change; returns its answer. Raises what `decide` raises, having changed nothing, and
        `DependencyUnavailable`."""
        return await self._lasting.run(self._run(decide))

    async def _run(self, decide: Callable[[AbuseWork], Awaitable[Change[T]]]) -> T:
        async with self._store.unit_of_work() as work:
            done = await decide(work)
            if done.events:
                await work.outbox.add_all(done.events)
            if done.audit:
                await work.audit.add_all(done.audit)
            if done.events or done.audit:
                await work.commit()
        # A part of the work, not of the call: what is committed is true whether or not its caller still waits.
        for event in done.events:
            self._cache.invalidate(event.link.short_code, event.link.version)
        return done.answer
