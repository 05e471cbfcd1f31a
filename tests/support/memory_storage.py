"""The storage of links in memory: what is committed, and hooks to hold a commit or make it fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from gateway.transactions import redirect_of
from waypost.errors import IdempotencyKeyReused
from waypost.listing import Cursor, LinkPage, ListQuery
from waypost.model import IdempotencyKey, Link, LinkEvent, NewLink, Redirect

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


class MemoryStorage:
    """Links, events and answers as they are committed, and nothing else. One unit of work at a time."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.events: list[LinkEvent] = []
        self.answers: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        self.asked: list[str] = []
        self.lists: list[tuple[UUID, ListQuery, datetime]] = []
        self.next_page: Cursor | None = None
        self.opened = 0
        self.commits = 0
        self.event_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.committing = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.committed: Callable[[], None] = lambda: None
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[MemoryUnitOfWork]:
        self.opened += 1
        async with self._turn:
            yield MemoryUnitOfWork(self)

    async def get_link(self, short_code: str) -> Link | None:
        self.asked.append(short_code)
        return self.links.get(short_code)

    async def read_answer(self, key: IdempotencyKey) -> bytes | None:
        return await MemoryAnswers(self).claim(key)

    async def list_links(self, workspace_id: UUID, query: ListQuery, now: datetime) -> LinkPage:
        self.lists.append((workspace_id, query, now))
        return LinkPage(tuple(self.links.values())[: query.size], self.next_page)

    async def read_redirect(self, short_code: str) -> Redirect | None:
        link = await self.get_link(short_code)
        return redirect_of(link) if link is not None else None

    async def use_click(self, short_code: str) -> Redirect | None:
        link = self.links.get(short_code)
        if link is None or link.clicks_used >= link.max_clicks:
            return None
        self.links[short_code] = replace(link, clicks_used=link.clicks_used + 1)
        return redirect_of(link)


class MemoryUnitOfWork:
    """A transaction on `MemoryStorage`."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.links = MemoryLinks(storage)
        self.outbox = MemoryOutbox(storage)
        self.answers = MemoryAnswers(storage)

    async def commit(self) -> None:
        storage = self._storage
        storage.committing.set()
        await storage.may_commit.wait()
        if storage.commit_error is not None:
            raise storage.commit_error
        storage.links |= self.links.changed
        storage.events += self.outbox.added
        storage.answers |= self.answers.kept
        storage.commits += 1
        storage.committed()


class MemoryLinks:
    """The links inside a transaction."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.changed: dict[str, Link] = {}
        self.calls: list[int] = []

    async def _add(self, link: NewLink) -> Link | None:
        if link.short_code.lower() in map(str.lower, [*self._storage.links, *self.changed]):
            return None
        self.changed[link.short_code] = added = stored(link)
        return added

    async def add_all(self, links: Sequence[NewLink]) -> list[Link | None]:
        return [await self._add(link) for link in links]

    async def lock(self, short_code: str) -> Link | None:
        return self._storage.links.get(short_code)

    async def update(self, before: Link, after: Link) -> Link:
        return self._change(after)

    async def set_deleted(self, link: Link, *, deleted: bool) -> Link:
        return self._change(replace(link, deleted_at=NOW if deleted else None))

    def _change(self, link: Link) -> Link:
        self.changed[link.short_code] = changed = replace(link, version=link.version + 1)
        return changed


class MemoryOutbox:
    """The events inside a transaction."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.added: list[LinkEvent] = []

    async def add_all(self, events: Sequence[LinkEvent]) -> None:
        if self._storage.event_error is not None:
            raise self._storage.event_error
        self.added += events


class MemoryAnswers:
    """The idempotency keys inside a transaction."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self.kept: dict[tuple[object, ...], tuple[bytes, bytes]] = {}

    async def claim(self, key: IdempotencyKey) -> bytes | None:
        found = self._storage.answers.get(_name(key))
        if found is None:
            return None
        if found[0] != key.fingerprint:
            raise IdempotencyKeyReused(key.key)
        return found[1]

    async def keep(self, key: IdempotencyKey, answer: bytes) -> None:
        self.kept[_name(key)] = key.fingerprint, answer


def stored(link: NewLink) -> Link:
    """The link as a store first has it."""
    return Link(
        link.workspace_id,
        link.short_code,
        link.destination,
        blocked=False,
        version=1,
        created_at=NOW,
        updated_at=NOW,
        deleted_at=None,
        expires_at=link.expires_at,
        redirect_status=link.redirect_status,
        title=link.title,
        tags=link.tags,
        max_clicks=link.max_clicks,
        forward_query=link.forward_query,
    )


def _name(key: IdempotencyKey) -> tuple[object, ...]:
    return key.workspace_id, key.principal, key.method, key.key
