"""Links in PostgreSQL: the API's unit of work and its reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg

from waypost.adapters.link_lists import read_page
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_accounts import PostgresKeys, PostgresMembers, PostgresOwnWorkspace
from waypost.adapters.postgres_answers import PostgresAnswers
from waypost.adapters.postgres_audit import PostgresAudit
from waypost.adapters.postgres_outbox import PostgresOutbox
from waypost.adapters.postgres_session import Session
from waypost.adapters.postgres_transaction import PostgresTransaction
from waypost.adapters.postgres_workspace import begin_in, reading_in
from waypost.adapters.queries import QUERIES
from waypost.listing import LinkPage, ListQuery
from waypost.model import Destination, DestinationFlag, IdempotencyKey, Link, NewLink
from waypost.search_terms import link_terms

_KNOWN_FLAGS = frozenset(DestinationFlag)


class PostgresStorage:
    """The truth about links. `public_url` is what short addresses in events begin with."""

    def __init__(self, postgres: Postgres, public_url: str) -> None:
        self._postgres = postgres
        self._public_url = public_url

    @asynccontextmanager
    async def unit_of_work(self, workspace_id: UUID) -> AsyncIterator[PostgresUnitOfWork]:
        """Opens a transaction that sees one workspace; leaving it without `commit` undoes it."""
        async with self._postgres.connection() as session:
            await session.execute(begin_in(workspace_id))
            work = PostgresUnitOfWork(session, workspace_id, self._public_url)
            try:
                yield work
            finally:
                await work.close()

    async def get_link(self, workspace_id: UUID, short_code: str) -> Link | None:
        """Reads one link of the workspace."""
        if not could_be_code(short_code):
            return None
        async with reading_in(self._postgres, workspace_id) as session:
            row = await session.fetchrow(QUERIES["get_link"], short_code, workspace_id)
        return None if row is None else link_of(row)

    async def read_answer(self, key: IdempotencyKey) -> bytes | None:
        """What was answered to this key; raises `IdempotencyKeyReused`."""
        async with reading_in(self._postgres, key.workspace_id) as session:
            return await PostgresAnswers(session).read(key)

    async def list_links(self, workspace_id: UUID, query: ListQuery, now: datetime) -> LinkPage:
        """Reads a page of the workspace's links; `now` decides what has expired."""
        async with reading_in(self._postgres, workspace_id) as session:
            return await read_page(session, workspace_id, query, now, link_of)


class PostgresUnitOfWork(PostgresTransaction):
    """One transaction of READ COMMITTED in one workspace."""

    def __init__(self, session: Session, workspace_id: UUID, public_url: str) -> None:
        super().__init__(session)
        self.links = PostgresLinks(session, workspace_id)
        self.audit = PostgresAudit(session)
        self.members = PostgresMembers(session, workspace_id)
        self.keys = PostgresKeys(session, workspace_id)
        self.workspace = PostgresOwnWorkspace(session, workspace_id)
        self.outbox = PostgresOutbox(session, public_url)
        self.answers = PostgresAnswers(session)


class PostgresLinks:
    """The links of one workspace inside one transaction."""

    def __init__(self, session: Session, workspace_id: UUID) -> None:
        self._session = session
        self._workspace_id = workspace_id

    async def add_all(self, links: Sequence[NewLink]) -> list[Link | None]:
        """Stores links in one statement; in order, each or None if its code, without regard to case, is taken.

        Of two with one code the first is stored. Waits for rivals that are not done yet.
        """
        columns = map(list, zip(*map(_columns_of, links), strict=True))
        rows = await self._session.fetch(QUERIES["insert_links"], *columns)
        stored = {row["short_code"]: link_of(row) for row in rows}
        return [stored.pop(link.short_code, None) for link in links]

    async def lock(self, short_code: str) -> Link | None:
        """The link with exactly this code, in whatever state; nobody else changes it before the transaction is over."""
        if not could_be_code(short_code):
            return None
        row = await self._session.fetchrow(QUERIES["lock_link"], short_code, self._workspace_id)
        return None if row is None else link_of(row)

    async def update(self, before: Link, after: Link) -> Link:
        """Stores what an owner may change of a locked link: `after` instead of `before`. Returns it as it is now."""
        row = await self._session.fetchrow(
            QUERIES["update_link"],
            before.short_code,
            after.destination.url,
            [flag.value for flag in after.destination.flags],
            after.redirect_status,
            after.expires_at,
            after.title,
            list(after.tags),
            after.max_clicks,
            after.forward_query,
            list(link_terms(before.short_code, after.title, after.destination.url, after.tags)),
            self._workspace_id,
        )
        return _present(row)

    async def set_deleted(self, link: Link, *, deleted: bool) -> Link:
        """Deletes or undeletes a locked link. Returns it as it is now."""
        query = QUERIES["set_link_deleted"]
        return _present(await self._session.fetchrow(query, link.short_code, deleted, self._workspace_id))


def could_be_code(short_code: str) -> bool:
    """Whether it is worth asking for: what PostgreSQL's text cannot hold (NUL, half a character) is no code."""
    return short_code.isascii() and short_code.isprintable()


def link_of(row: asyncpg.Record) -> Link:
    """The link of a row; flags of a newer release are passed over."""
    flags = tuple(DestinationFlag(flag) for flag in row["destination_flags"] if flag in _KNOWN_FLAGS)
    return Link(
        workspace_id=row["workspace_id"],
        short_code=row["short_code"],
        destination=Destination(row["original_url"], flags),
        title=row["title"],
        tags=tuple(row["tags"]),
        max_clicks=row["max_clicks"],
        clicks_used=row["clicks_used"],
        forward_query=row["forward_query"],
        warned=row["warned"],
        blocked=row["blocked"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
        expires_at=row["expires_at"],
        redirect_status=row["redirect_status"],
    )


def _present(row: asyncpg.Record | None) -> Link:
    """A link that the transaction has locked, so it is there."""
    if row is None:
        raise LookupError("a locked link has gone")
    return link_of(row)


def _columns_of(link: NewLink) -> tuple[object, ...]:
    """As `insert_links` takes them; neither flags nor tags nor terms have commas."""
    return (
        link.workspace_id,
        link.short_code,
        link.destination.url,
        ",".join(link.destination.flags),
        link.redirect_status,
        link.expires_at,
        link.title,
        ",".join(link.tags),
        link.max_clicks,
        link.forward_query,
        ",".join(link_terms(link.short_code, link.title, link.destination.url, link.tags)),
    )
