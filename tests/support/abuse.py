"""Operators and reporters for tests, and a store of reports and links in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Generic, Self, TypeVar
from uuid import UUID

from gateway.abuse.requests import ReportLink
from gateway.requests import Caller
from tests.support.identities import as_role
from tests.support.memory_storage import NOW
from waypost.abuse import BlockableLink, BlockedPage, NewReport, Place, Report, ReportCategory, ReportPage, ReportQuery
from waypost.access.identity import Role
from waypost.audit import AuditEntry
from waypost.model import Link, LinkEvent

T = TypeVar("T")

OPERATORS = UUID("00000000-0000-0000-0000-0000000000aa")
"""The workspace that operators' calls run in: not that of the links."""


def operator(name: str = "key:operator12345678", correlation_id: str = "call-1") -> Caller:
    """An operator's call."""
    identity = as_role(Role.OPERATOR, OPERATORS, principal=name, address="192.0.2.1")
    return Caller(identity, OPERATORS, correlation_id)


def report(link: str = "abc1234", comment: str = "", contact: str = "") -> ReportLink:
    """A report of phishing."""
    return ReportLink(link, ReportCategory.PHISHING, comment, contact)


class MemoryAbuse:
    """Reports and links as they are committed; `waypost.abuse_ports.ReportIntake` and `AbuseStore`.

    `error`: what a commit raises. `committing` and `may_commit` hold it up.
    """

    def __init__(self, *links: Link) -> None:
        self.links = {link.short_code: BlockableLink(link, None, "") for link in links}
        self.reports: dict[UUID, NewReport] = {}
        self.closed: dict[UUID, datetime] = {}
        self.events: list[LinkEvent] = []
        self.entries: list[AuditEntry] = []
        self.queries: list[ReportQuery] = []
        self.blocked_queries: list[tuple[int, Place | None]] = []
        self.next: Place | None = None
        self.commits = 0
        self.error: Exception | None = None
        self.committing = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    async def add(self, report: NewReport) -> bool:
        if report.short_code not in self.links:
            return False
        self.reports[report.report_id] = report
        return True

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[MemoryAbuseWork]:
        yield MemoryAbuseWork(self)

    async def list_reports(self, query: ReportQuery) -> ReportPage:
        self.queries.append(query)
        wanted = [self.seen(report, self.closed.get(report.report_id)) for report in self.reports.values()]
        return ReportPage(tuple(one for one in wanted if (one.closed_at is not None) is query.closed), self.next)

    async def list_blocked(self, size: int, after: Place | None) -> BlockedPage:
        self.blocked_queries.append((size, after))
        return BlockedPage(tuple(link.seen for link in self.links.values() if link.blocked_at), self.next)

    def seen(self, report: NewReport, closed_at: datetime | None) -> Report:
        """The report as operators see it."""
        found = self.links[report.short_code]
        return Report(
            report.report_id,
            report.short_code,
            report.category,
            report.comment,
            report.contact,
            NOW,
            closed_at,
            found.link.destination.url,
            found.blocked_at is not None,
            found.link.workspace_id,
        )


class MemoryAbuseWork:
    """A transaction on `MemoryAbuse`: all of its parts in one."""

    def __init__(self, store: MemoryAbuse) -> None:
        self._store = store
        self._links = dict(store.links)
        self._closed = dict(store.closed)
        self.outbox = _Added[LinkEvent]()
        self.audit = _Added[AuditEntry]()

    @property
    def links(self) -> Self:
        return self

    @property
    def reports(self) -> Self:
        return self

    async def lock(self, short_code: str) -> BlockableLink | None:
        return self._links.get(short_code)

    async def block(self, link: BlockableLink, reason: str) -> BlockableLink:
        return self._change(link, link.blocked_at or NOW, reason)

    async def unblock(self, link: BlockableLink) -> BlockableLink:
        return self._change(link, None, link.reason)

    async def close(self, report_id: UUID) -> tuple[Report, bool] | None:
        report = self._store.reports.get(report_id)
        if report is None:
            return None
        was_open = report_id not in self._closed
        return self._store.seen(report, self._closed.setdefault(report_id, NOW)), was_open

    async def close_all(self, link: BlockableLink) -> int:
        code = link.link.short_code
        opened = [id for id, one in self._store.reports.items() if one.short_code == code and id not in self._closed]
        self._closed |= dict.fromkeys(opened, NOW)
        return len(opened)

    async def commit(self) -> None:
        store = self._store
        store.committing.set()
        await store.may_commit.wait()
        if store.error is not None:
            raise store.error
        store.links, store.closed = self._links, self._closed
        store.events += self.outbox.added
        store.entries += self.audit.added
        store.commits += 1

    def _change(self, found: BlockableLink, blocked_at: datetime | None, reason: str) -> BlockableLink:
        link = replace(found.link, blocked=blocked_at is not None, version=found.link.version + 1)
        self._links[link.short_code] = changed = BlockableLink(link, blocked_at, reason)
        return changed


class _Added(Generic[T]):
    def __init__(self) -> None:
        self.added: list[T] = []

    async def add_all(self, things: Sequence[T]) -> None:
        self.added += things
