"""Reports of harmful links, and blocked links, in PostgreSQL: over all workspaces, whatever the caller's is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from uuid import UUID

import asyncpg

from waypost.abuse import (
    MAX_OPEN_BY_ADDRESS,
    MAX_OPEN_OF_LINK,
    BlockableLink,
    BlockedLink,
    BlockedPage,
    NewReport,
    Place,
    Report,
    ReportCategory,
    ReportPage,
    ReportQuery,
)
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_audit import PostgresAudit
from waypost.adapters.postgres_links import could_be_code, link_of
from waypost.adapters.postgres_outbox import PostgresOutbox
from waypost.adapters.postgres_session import Session
from waypost.adapters.postgres_transaction import PostgresTransaction
from waypost.adapters.queries import QUERIES

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""About how large a page may grow: clients of gRPC take 4 MiB."""

_CATEGORIES = frozenset(ReportCategory)


class PostgresReportIntake:
    """Takes reports in as the role `waypost_redirect`, which can neither read nor change what they say."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def add(self, report: NewReport) -> bool:
        """Stores a report, unless as many of its link are open as are kept. False: there is no such link."""
        if not could_be_code(report.short_code):
            return False
        async with self._postgres.connection() as session:
            link_id = await session.fetchval(QUERIES["find_reported_link"], report.short_code)
            if link_id is None:
                return False
            await session.execute("BEGIN")
            work = PostgresTransaction(session)
            try:
                # A statement of its own: the next one is to count what the rival before us has stored.
                await session.execute(QUERIES["lock_reports_of_link"], link_id)
                await session.execute(
                    QUERIES["insert_report"],
                    report.report_id,
                    link_id,
                    report.category.value,
                    report.comment,
                    report.contact,
                    report.address,
                    MAX_OPEN_BY_ADDRESS,
                    MAX_OPEN_OF_LINK,
                )
                await work.commit()
            finally:
                await work.close()
        return True


class PostgresAbuse:
    """What operators see and do, as the role `waypost_operator`. `public_url`: what short addresses in events begin
    with."""

    def __init__(self, postgres: Postgres, public_url: str) -> None:
        self._postgres = postgres
        self._public_url = public_url

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[PostgresAbuseWork]:
        """Opens a transaction; leaving it without `commit` undoes it."""
        async with self._postgres.connection() as session:
            await session.execute("BEGIN")
            work = PostgresAbuseWork(session, self._public_url)
            try:
                yield work
            finally:
                await work.close()

    async def list_reports(self, query: ReportQuery) -> ReportPage:
        """A page of reports, the oldest first; shorter than asked for if they are large."""
        if not could_be_code(query.short_code):
            return ReportPage((), None)
        place = (None, None) if query.after is None else (query.after.at, UUID(query.after.id))
        async with self._postgres.connection() as session:
            if query.short_code:
                statement = QUERIES["list_reports_of_link"]
                rows = await session.fetch(statement, *place, query.size + 1, query.closed, query.short_code)
            else:
                statement = QUERIES["list_closed_reports" if query.closed else "list_open_reports"]
                rows = await session.fetch(statement, *place, query.size + 1)
        page = list(_fitting(rows, query.size, ("comment", "contact", "original_url")))
        more = len(page) < len(rows)
        return ReportPage(
            tuple(map(_report_of, page)),
            Place(page[-1]["created_at"], str(page[-1]["id"])) if more else None,
        )

    async def list_blocked(self, size: int, after: Place | None) -> BlockedPage:
        """A page of blocked links, the latest first; shorter than asked for if they are large."""
        place = (None, None) if after is None else (after.at, int(after.id))
        async with self._postgres.connection() as session:
            rows = await session.fetch(QUERIES["list_blocked_links"], *place, size + 1)
        page = list(_fitting(rows, size, ("original_url", "blocked_reason")))
        more = len(page) < len(rows)
        return BlockedPage(
            tuple(map(_blocked_link_of, page)),
            Place(page[-1]["blocked_at"], str(page[-1]["id"])) if more else None,
        )


class PostgresAbuseWork(PostgresTransaction):
    """One transaction of READ COMMITTED over all workspaces."""

    def __init__(self, session: Session, public_url: str) -> None:
        super().__init__(session)
        self.links = PostgresBlockableLinks(session)
        self.reports = PostgresReports(session)
        self.outbox = PostgresOutbox(session, public_url)
        self.audit = PostgresAudit(session)


class PostgresBlockableLinks:
    """The links of all workspaces inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def lock(self, short_code: str) -> BlockableLink | None:
        """The link with exactly this code, in whatever state; nobody else changes it before the transaction is over."""
        if not could_be_code(short_code):
            return None
        row = await self._session.fetchrow(QUERIES["lock_any_link"], short_code)
        return None if row is None else _blockable_of(row)

    async def block(self, link: BlockableLink, reason: str) -> BlockableLink:
        """Blocks a locked link, or gives a blocked one another reason. Returns it as it is now."""
        return await self._set_blocked(link, reason, blocked=True)

    async def unblock(self, link: BlockableLink) -> BlockableLink:
        """Puts a locked link back; its last reason stays. Returns it as it is now."""
        return await self._set_blocked(link, link.reason, blocked=False)

    async def _set_blocked(self, link: BlockableLink, reason: str, *, blocked: bool) -> BlockableLink:
        row = await self._session.fetchrow(QUERIES["set_link_blocked"], link.link.short_code, blocked, reason)
        if row is None:
            raise LookupError("a locked link has gone")
        return _blockable_of(row)


class PostgresReports:
    """The reports inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def close(self, report_id: UUID) -> tuple[Report, bool] | None:
        """Closes a report; the report as it is now, and whether it was open before. None: there is none."""
        was_open = await self._session.fetchval(QUERIES["close_report"], report_id) is not None
        row = await self._session.fetchrow(QUERIES["get_report"], report_id)
        return None if row is None else (_report_of(row), was_open)

    async def close_all(self, link: BlockableLink) -> int:
        """Closes the open reports of a locked link; how many there were."""
        tag = await self._session.execute(QUERIES["close_reports_of_link"], link.link.short_code)
        return int(tag.removeprefix("UPDATE "))


def _fitting(rows: Iterable[asyncpg.Record], size: int, texts: tuple[str, ...]) -> Iterator[asyncpg.Record]:
    """The first `size` rows, or as many as make a page: at least one."""
    total = 0
    for row in islice(rows, size):
        yield row
        total += 256 + sum(len(row[name].encode()) for name in texts)
        if total > MAX_PAGE_BYTES:
            return


def _report_of(row: asyncpg.Record) -> Report:
    category = row["category"]
    return Report(
        report_id=row["id"],
        short_code=row["short_code"],
        # One of a newer release is none of ours.
        category=ReportCategory(category) if category in _CATEGORIES else ReportCategory.OTHER,
        comment=row["comment"],
        contact=row["contact"],
        created_at=row["created_at"],
        closed_at=row["closed_at"],
        url=row["original_url"],
        blocked=row["blocked"],
        workspace_id=row["workspace_id"],
    )


def _blocked_link_of(row: asyncpg.Record) -> BlockedLink:
    return BlockedLink(
        row["short_code"], row["original_url"], row["workspace_id"], row["blocked_at"], row["blocked_reason"]
    )


def _blockable_of(row: asyncpg.Record) -> BlockableLink:
    return BlockableLink(link_of(row), row["blocked_at"], row["blocked_reason"])
