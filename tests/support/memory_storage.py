"""The storage in memory: what is committed, and hooks to hold a commit or make it fail.

A transaction sees the rows of its workspace and writes no others, as row-level security has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from gateway.transactions import redirect_of
from tests.support.memory_accounts import (
    NOW,
    Accounts,
    MemoryAudit,
    MemoryKeys,
    MemoryMembers,
    MemoryOwnWorkspace,
    RowLevelSecurity,
)
from waypost.errors import IdempotencyKeyReused
from waypost.listing import Cursor, LinkPage, ListQuery
from waypost.model import IdempotencyKey, Link, LinkEvent, NewLink, Redirect

__all__ = ["NOW", "MemoryStorage", "stored"]


class MemoryStorage:
    """Links by their codes, events, answers and accounts, as they are committed. One unit of work at a time."""

    def __init__(self) -> None:
        self.accounts = Accounts()
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
    async def unit_of_work(self, workspace_id: UUID) -> AsyncIterator[MemoryUnitOfWork]:
        self.opened += 1
        async with self._turn:
            yield MemoryUnitOfWork(self, workspace_id)

    async def get_link(self, workspace_id: UUID, short_code: str) -> Link | None:
        self.asked.append(short_code)
        return _own(self.links.get(short_code), workspace_id)

    async def read_answer(self, key: IdempotencyKey) -> bytes | None:
        return await MemoryAnswers(self, key.workspace_id).claim(key)

    async def list_links(self, workspace_id: UUID, query: ListQuery, now: datetime) -> LinkPage:
        self.lists.append((workspace_id, query, now))
        own = [link for link in self.links.values() if link.workspace_id == workspace_id]
        return LinkPage(tuple(own[: query.size]), self.next_page)

    async def read_redirect(self, short_code: str) -> Redirect | None:
        self.asked.append(short_code)
        link = self.links.get(short_code)
        return redirect_of(link) if link is not None else None

    async def use_click(self, short_code: str) -> Redirect | None:
        link = self.links.get(short_code)
        if link is None or link.clicks_used >= link.max_clicks:
            return None
        self.links[short_code] = replace(link, clicks_used=link.clicks_used + 1)
        return redirect_of(link)


class MemoryUnitOfWork:
    """A transaction on `MemoryStorage`, in one workspace."""

    def __init__(self, storage: MemoryStorage, workspace_id: UUID) -> None:
        self._storage = storage
        self._accounts = storage.accounts.copy()
        self.links = MemoryLinks(storage, workspace_id)
        self.outbox = MemoryOutbox(storage, workspace_id)
        self.answers = MemoryAnswers(storage, workspace_id)
        self.audit = MemoryAudit(self._accounts, workspace_id)
        self.members = MemoryMembers(self._accounts, workspace_id)
        self.keys = MemoryKeys(self._accounts, workspace_id)
        self.workspace = MemoryOwnWorkspace(self._accounts, workspace_id)

    async def commit(self) -> None:
        storage = self._storage
        storage.committing.set()
        await storage.may_commit.wait()
        if storage.commit_error is not None:
            raise storage.commit_error
        storage.links |= self.links.changed
        storage.events += self.outbox.added
        storage.answers |= self.answers.kept
        storage.accounts.take(self._accounts)
        storage.commits += 1
        storage.committed()


class MemoryLinks:
    """The links inside a transaction."""

    def __init__(self, storage: MemoryStorage, workspace_id: UUID) -> None:
        self._storage = storage
        self._workspace_id = workspace_id
        self.changed: dict[str, Link] = {}
        self.calls: list[int] = []

    async def _add(self, link: NewLink) -> Link | None:
        _require_own(link.workspace_id, self._workspace_id)
        # The one thing that is seen of other workspaces: codes are unique among all.
        if link.short_code.lower() in map(str.lower, [*self._storage.links, *self.changed]):
            return None
        self.changed[link.short_code] = added = stored(link)
        return added

    async def add_all(self, links: Sequence[NewLink]) -> list[Link | None]:
        return [await self._add(link) for link in links]

    async def lock(self, short_code: str) -> Link | None:
        return _own(self._storage.links.get(short_code), self._workspace_id)

    async def update(self, before: Link, after: Link) -> Link:
        return self._change(after)

    async def set_deleted(self, link: Link, *, deleted: bool) -> Link:
        return self._change(replace(link, deleted_at=NOW if deleted else None))

    def _change(self, link: Link) -> Link:
        _require_own(link.workspace_id, self._workspace_id)
        self.changed[link.short_code] = changed = replace(link, version=link.version + 1)
        return changed


class MemoryOutbox:
    """The events inside a transaction."""

    def __init__(self, storage: MemoryStorage, workspace_id: UUID) -> None:
        self._storage = storage
        self._workspace_id = workspace_id
        self.added: list[LinkEvent] = []

    async def add_all(self, events: Sequence[LinkEvent]) -> None:
        if self._storage.event_error is not None:
            raise self._storage.event_error
        for event in events:
            _require_own(event.link.workspace_id, self._workspace_id)
        self.added += events


class MemoryAnswers:
    """The idempotency keys inside a transaction."""

    def __init__(self, storage: MemoryStorage, workspace_id: UUID) -> None:
        self._storage = storage
        self._workspace_id = workspace_id
        self.kept: dict[tuple[object, ...], tuple[bytes, bytes]] = {}

    async def claim(self, key: IdempotencyKey) -> bytes | None:
        _require_own(key.workspace_id, self._workspace_id)
        found = self._storage.answers.get(_name(key))
        if found is None:
            return None
        if found[0] != key.fingerprint:
            raise IdempotencyKeyReused(key.key)
        return found[1]

    async def keep(self, key: IdempotencyKey, answer: bytes) -> None:
        _require_own(key.workspace_id, self._workspace_id)
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


def _own(link: Link | None, workspace_id: UUID) -> Link | None:
    return link if link is not None and link.workspace_id == workspace_id else None


def _require_own(workspace_id: UUID, own: UUID) -> None:
    if workspace_id != own:
        raise RowLevelSecurity
