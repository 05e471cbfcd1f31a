"""Links in PostgreSQL: the unit of work of the API and the read path of redirects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_session import Session, unavailable
from waypost.adapters.queries import QUERIES
from waypost.convert import dedupe_key, event_to_proto, short_url
from waypost.errors import DependencyUnavailable
from waypost.model import Destination, DestinationFlag, Link, LinkEvent, NewLink, Redirect

_KNOWN_FLAGS = frozenset(DestinationFlag)


class PostgresStorage:
    """The truth about links. `public_url` is what short addresses in events begin with."""

    def __init__(self, postgres: Postgres, public_url: str) -> None:
        self._postgres = postgres
        self._public_url = public_url

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[PostgresUnitOfWork]:
        """Opens a transaction; leaving it without `commit` undoes it."""
        async with self._postgres.connection() as session:
            await session.execute("BEGIN")
            work = PostgresUnitOfWork(session, self._public_url)
            try:
                yield work
            finally:
                await work.close()

    async def get_link(self, short_code: str) -> Link | None:
        """Reads one link outside any transaction."""
        if not could_be_code(short_code):
            return None
        async with self._postgres.connection() as session:
            row = await session.fetchrow(QUERIES["get_link"], short_code)
        return None if row is None else link_of(row)


class PostgresUnitOfWork:
    """One transaction of READ COMMITTED."""

    def __init__(self, session: Session, public_url: str) -> None:
        self._session = session
        self._over = False
        self.links = PostgresLinks(session)
        self.outbox = PostgresOutbox(session, public_url)

    async def commit(self) -> None:
        """Makes it so. A caller who is cancelled from here on does not stop it.

        Raises `DependencyUnavailable` also when it is not known whether the server has done it.
        """
        if self._over:
            raise RuntimeError("this unit of work is over")
        self._over = True
        tag = await self._session.finish("COMMIT")
        if tag != "COMMIT":
            # The server rolls back, without an error, a transaction in which a statement has failed.
            raise unavailable()

    async def close(self) -> None:
        """Undoes what was not committed; never raises."""
        if self._over or self._session.broken:
            return
        self._over = True
        try:
            await self._session.execute("ROLLBACK")
        except DependencyUnavailable:
            pass  # the server undoes what it hears no more of


class PostgresLinks:
    """The links inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, link: NewLink) -> Link | None:
        """Stores a link; None if its code, without regard to case, is taken. Waits for a rival that is not done yet."""
        row = await self._session.fetchrow(
            QUERIES["insert_link"],
            link.workspace_id,
            link.short_code,
            link.destination.url,
            [flag.value for flag in link.destination.flags],
            link.redirect_status,
            link.expires_at,
        )
        return None if row is None else link_of(row)

    async def get(self, short_code: str) -> Link | None:
        """The link with exactly this code, in whatever state."""
        if not could_be_code(short_code):
            return None
        row = await self._session.fetchrow(QUERIES["get_link"], short_code)
        return None if row is None else link_of(row)

    async def delete(self, short_code: str) -> tuple[Link, bool] | None:
        """Marks a link deleted: the link as it is now, and whether this call did it. None: there is no such link."""
        if not could_be_code(short_code):
            return None
        row = await self._session.fetchrow(QUERIES["delete_link"], short_code)
        if row is not None:
            return link_of(row), True
        link = await self.get(short_code)
        return None if link is None else (link, False)


class PostgresOutbox:
    """Events of one transaction."""

    def __init__(self, session: Session, public_url: str) -> None:
        self._session = session
        self._public_url = public_url

    async def add(self, event: LinkEvent) -> None:
        """Writes one event."""
        await self.add_all([event])

    async def add_all(self, events: Iterable[LinkEvent]) -> None:
        """Writes any number of events in one statement."""
        rows = [_outbox_row(event, self._public_url) for event in events]
        if rows:
            await self._session.execute(QUERIES["insert_events"], *map(list, zip(*rows, strict=True)))


class PostgresRedirectReader:
    """Reads what a redirect needs and nothing else."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def read_redirect(self, short_code: str) -> Redirect | None:
        """The redirect of exactly this code, in whatever state; None if there is none."""
        if not could_be_code(short_code):
            return None
        async with self._postgres.connection() as session:
            row = await session.fetchrow(QUERIES["read_redirect"], short_code)
        if row is None:
            return None
        return Redirect(
            short_code=row["short_code"],
            url=row["original_url"],
            redirect_status=row["redirect_status"],
            version=row["version"],
            blocked=row["blocked"],
            deleted=row["deleted"],
            expires_at=row["expires_at"],
        )


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
        blocked=row["blocked"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
        expires_at=row["expires_at"],
        redirect_status=row["redirect_status"],
    )


def _outbox_row(event: LinkEvent, public_url: str) -> tuple[object, ...]:
    link = event.link
    event_id = uuid4()
    message = event_to_proto(event, event_id, short_url(public_url, link.short_code))
    return (
        event_id,
        event.type.value,
        link.short_code,
        link.version,
        link.workspace_id,
        dedupe_key(event),
        event.correlation_id,
        event.traceparent,
        link.updated_at,
        message.SerializeToString(),
    )
