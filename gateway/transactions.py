"""Changes that are made once: each in one transaction with its events and, for retries, its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from gateway.cache import Mark, RedirectCache
from gateway.lasting import Lasting
from waypost.audit import AuditEntry
from waypost.errors import IdempotencyKeyInUse
from waypost.model import EventType, IdempotencyKey, Link, LinkEvent, Redirect
from waypost.ports import Storage, UnitOfWork

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a rival with the same key waits for the one before it in this process."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a transaction has done: the answer to it, the events that become true with it, the audit log's entries."""

    answer: T
    events: Sequence[LinkEvent] = ()
    audit: Sequence[AuditEntry] = ()


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """How a change is answered: `encode` makes bytes of it, which a `key` keeps for whoever asks again."""

    encode: Callable[[T], bytes]
    key: IdempotencyKey | None = None


class Transactions:
    """Runs changes to their end, even if their callers go away: a commit in flight is not to be torn."""

    def __init__(self, storage: Storage, cache: RedirectCache) -> None:
        self._storage = storage
        self._cache = cache
        self._lasting = Lasting()
        # Gone with the last that holds or waits for it.
        self._turns: WeakValueDictionary[tuple[object, ...], asyncio.Lock] = WeakValueDictionary()

    async def given_before(self, reply: Reply[Any]) -> bytes | None:
        """What the same request was answered before; None: nothing, or it has no key.

        To be asked before the limiter and before any check: what was right when it was done need not be right any more.
        Raises `IdempotencyKeyReused`, `DependencyUnavailable`.
        """
        return None if reply.key is None else await self._storage.read_answer(reply.key)

    async def run(
        self, workspace_id: UUID, change: Callable[[UnitOfWork], Awaitable[Change[T]]], reply: Reply[T]
    ) -> bytes:
        """Makes the change in the workspace unless it was made before with the same key; returns the answer's bytes.

        Raises what `change` raises, having changed nothing; `IdempotencyKeyInUse`, `IdempotencyKeyReused`,
        `DependencyUnavailable`.
        """
        async with self._turn(reply.key):
            return await self._lasting.run(self._run(workspace_id, change, reply))

    @asynccontextmanager
    async def _turn(self, key: IdempotencyKey | None) -> AsyncIterator[None]:
        """Lets rivals with one key ask the database one by one, or they could take every connection to wait on."""
        if key is None:
            yield
            return
        name = (key.workspace_id, key.principal, key.method, key.key)
        turn = self._turns.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(PATIENCE):
                await turn.acquire()
        except TimeoutError:
            raise IdempotencyKeyInUse(key.key) from None
        try:
            yield
        finally:
            turn.release()

    async def _run(
        self, workspace_id: UUID, change: Callable[[UnitOfWork], Awaitable[Change[T]]], reply: Reply[T]
    ) -> bytes:
        since = self._cache.mark()
        async with self._storage.unit_of_work(workspace_id) as work:
            if reply.key is not None:
                given_before = await work.answers.claim(reply.key)
                if given_before is not None:
                    return given_before
            done = await change(work)
            answer = reply.encode(done.answer)
            if done.events:
                await work.outbox.add_all(done.events)
            if done.audit:
                await work.audit.add_all(done.audit)
            if reply.key is not None:
                await work.answers.keep(reply.key, answer)
            if done.events or done.audit or reply.key is not None:
                await work.commit()
        # A part of the work, not of the call: what is committed is true whether or not its caller still waits.
        for event in done.events:
            self._tell_cache(event, since)
        return answer

    def _tell_cache(self, event: LinkEvent, since: Mark) -> None:
        if event.type is EventType.LINK_CREATED:
            self._cache.put(redirect_of(event.link), since)
        else:
            self._cache.invalidate(event.link.short_code, event.link.version)


def redirect_of(link: Link) -> Redirect:
    """The columns of a link that its redirect needs."""
    return Redirect(
        short_code=link.short_code,
        url=link.destination.url,
        redirect_status=link.redirect_status,
        version=link.version,
        blocked=link.blocked,
        deleted=link.deleted_at is not None,
        expires_at=link.expires_at,
        created_at=link.created_at,
        warned=link.warned,
        limited=link.max_clicks > 0,
        exhausted=0 < link.max_clicks <= link.clicks_used,
        forward_query=link.forward_query,
    )
