"""The audit log in PostgreSQL: entries join the transaction that does what they say; pages are read by place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import asyncpg
import orjson

from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_session import Session
from waypost.adapters.postgres_workspace import reading_in
from waypost.adapters.queries import QUERIES
from waypost.audit import AuditEntry, AuditEvent, AuditPage, AuditPlace, AuditQuery

_CHUNK = 250
"""Entries that are made ready at once: what else the process does is not to wait for thousands of them."""

MAX_DETAIL = 2000
"""Characters of one detail; what is longer is cut, and says so."""

MAX_LOOKED_AT = 10_000
"""Rows that one page looks at, however few of them meet its conditions."""

# By the index, which has the page's order, and no further than the page needs: a plan that reads all of a workspace's
# log to sort it is right only while the log is as small as the last statistics say.
_IN_ORDER = (
    "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
)


class PostgresAudit:
    """The entries of one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add_all(self, entries: Iterable[AuditEntry]) -> None:
        """Writes any number of entries, `_CHUNK` in a statement."""
        waiting = iter(entries)
        while rows := [_row(entry) for entry in islice(waiting, _CHUNK)]:
            await self._session.execute(QUERIES["insert_audit"], *map(list, zip(*rows, strict=True)))


class PostgresAuditReader:
    """Reads one workspace's log over `api`, held to it by row-level security, and the whole over `operators`."""

    def __init__(self, api: Postgres, operators: Postgres) -> None:
        self._api = api
        self._operators = operators

    async def read_audit(self, query: AuditQuery) -> AuditPage:
        """A page of the log. Looks at `MAX_LOOKED_AT` rows at most, so a page may be short and not the last."""
        if query.workspace_id is None:
            async with _reading_all(self._operators) as session:
                rows = await _read(session, "read_whole_audit", query.object, query)
        else:
            async with reading_in(self._api, query.workspace_id) as session:
                if query.object:
                    rows = await _read(session, "read_audit_of_object", query.workspace_id, query, query.object)
                else:
                    rows = await _read(session, "read_audit", query.workspace_id, query)
        return _page_of(rows, query.size)


@asynccontextmanager
async def _reading_all(postgres: Postgres) -> AsyncIterator[Session]:
    """As `reading_in`, for a role that sees all workspaces: what is set for one page is to end with it."""
    async with postgres.connection() as session:
        await session.execute("BEGIN READ ONLY")
        try:
            yield session
        finally:
            if not session.broken:
                session.leave("ROLLBACK")


async def _read(
    session: Session, name: str, first: object, query: AuditQuery, *more: object
) -> Sequence[asyncpg.Record]:
    """The rows of a statement; all have these parameters. One row more than the page has: it is not the last."""
    await session.execute(_IN_ORDER)
    return await session.fetch(
        QUERIES[name],
        first,
        query.from_,
        query.until,
        None if query.after is None else query.after.occurred_at,
        None if query.after is None else query.after.event_id,
        MAX_LOOKED_AT,
        query.principal,
        query.action,
        # A kind is all that begins with its dot: what stands before the next character.
        query.action[:-1] + "/" if query.action.endswith(".") else "",
        query.size + 1,
        *more,
    )


def _page_of(rows: Sequence[asyncpg.Record], size: int) -> AuditPage:
    """The page of these rows, of which the last may be there for its place alone."""
    met = [row for row in rows if row["meets"]]
    if len(met) > size:
        after = _place_of(met[size - 1])
    elif rows and rows[-1]["place"] == MAX_LOOKED_AT:
        after = _place_of(rows[-1])
    else:
        after = None
    return AuditPage(tuple(map(_event_of, met[:size])), after)


def _place_of(row: asyncpg.Record) -> AuditPlace:
    return AuditPlace(row["occurred_at"], row["id"])


def _event_of(row: asyncpg.Record) -> AuditEvent:
    return AuditEvent(
        event_id=row["id"],
        occurred_at=row["occurred_at"],
        workspace_id=row["workspace_id"],
        principal=row["principal"],
        address=row["address"],
        action=row["action"],
        object=row["object"],
        details={name: str(value) for name, value in orjson.loads(row["details"]).items()},
        correlation_id=row["correlation_id"],
    )


def _row(entry: AuditEntry) -> tuple[object, ...]:
    return (
        entry.workspace_id,
        entry.principal,
        entry.address,
        entry.action.value,
        entry.object,
        orjson.dumps({key: _cut(value) for key, value in entry.details.items()}).decode(),
        entry.correlation_id[:128],
    )


def _cut(text: str) -> str:
    """What PostgreSQL's JSON can hold, and not too much of it."""
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
