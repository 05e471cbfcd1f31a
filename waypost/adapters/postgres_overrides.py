"""Overrides of rate limits in PostgreSQL, as the role `waypost_limiter`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from uuid import UUID, uuid4

import asyncpg
import orjson

from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_audit import PostgresAudit
from waypost.adapters.postgres_session import Session
from waypost.adapters.postgres_transaction import PostgresTransaction
from waypost.adapters.queries import QUERIES
from waypost.audit import AuditEntry
from waypost.model import LimitEntry
from waypost.overrides import (
    LimitUnit,
    NewOverride,
    Override,
    OverrideNumbers,
    OverridePage,
    OverridePlace,
    digest_of,
)

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""About how large a page may grow: clients of gRPC take 4 MiB."""

EXPIRED_AT_ONCE = 1000
"""Most expired overrides that a change takes out beside its own work."""


class PostgresOverrides:
    """The overrides; a `waypost.override_ports.OverrideStore`, and its `AuditLog`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[PostgresOverrideWork]:
        """Opens a transaction; leaving it without `commit` undoes it."""
        async with self._postgres.connection() as session:
            await session.execute("BEGIN")
            work = PostgresOverrideWork(session)
            try:
                await session.execute(QUERIES["lock_overrides"])
                await session.execute(QUERIES["forget_expired_overrides"], EXPIRED_AT_ONCE)
                yield work
            finally:
                await work.close()

    async def list_overrides(self, domain: str, size: int, after: OverridePlace | None) -> OverridePage:
        """A page of a domain's overrides (empty: of all), the latest first; shorter than asked for if they are long."""
        place = (None, None) if after is None else (after.created_at, after.override_id)
        async with self._postgres.connection() as session:
            rows = await session.fetch(QUERIES["list_overrides"], domain, *place, size + 1)
        page = list(_fitting(rows, size))
        more = len(page) < len(rows)
        return OverridePage(
            tuple(map(_override_of, page)), OverridePlace(page[-1]["created_at"], page[-1]["id"]) if more else None
        )

    async def record(self, entry: AuditEntry) -> None:
        """Writes an entry of the audit log by itself."""
        async with self._postgres.connection() as session:
            await PostgresAudit(session).add_all([entry])


class PostgresOverrideWork(PostgresTransaction):
    """One transaction of READ COMMITTED in which nobody else changes overrides."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.overrides = PostgresOverridesOfWork(session)
        self.audit = PostgresAudit(session)


class PostgresOverridesOfWork:
    """The overrides inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(self, new: NewOverride) -> Override | None:
        """The override that the descriptor has now."""
        row = await self._session.fetchrow(QUERIES["find_override"], digest_of(new.domain, new.entries))
        return None if row is None else _override_of(row)

    async def set(self, new: NewOverride) -> Override:
        """Stores an override in place of the one that its descriptor has, if any, under that one's id."""
        numbers = new.numbers
        row = await self._session.fetchrow(
            QUERIES["set_override"],
            uuid4(),
            digest_of(new.domain, new.entries),
            new.domain,
            orjson.dumps([{"key": entry.key, "value": entry.value} for entry in new.entries]).decode(),
            None if numbers is None else numbers.requests_per_unit,
            None if numbers is None else numbers.unit.value,
            None if numbers is None else numbers.burst,
            new.reason,
            new.expires_at,
            new.created_by,
        )
        if row is None:
            raise LookupError("an override that was stored has gone")
        return _override_of(row)

    async def delete(self, override_id: UUID) -> Override | None:
        """Takes an override out; what it was. None: there is none."""
        row = await self._session.fetchrow(QUERIES["delete_override"], override_id)
        return None if row is None else _override_of(row)

    async def count(self) -> int:
        """How many there are."""
        return int(await self._session.fetchval(QUERIES["count_overrides"]))


def numbers_of(row: asyncpg.Record) -> OverrideNumbers | None:
    """The numbers of a row; None: unlimited."""
    if row["unit"] is None:
        return None
    return OverrideNumbers(row["requests_per_unit"], LimitUnit(row["unit"]), row["burst"])


def _override_of(row: asyncpg.Record) -> Override:
    return Override(
        override_id=row["id"],
        domain=row["domain"],
        entries=tuple(LimitEntry(entry["key"], entry["value"]) for entry in orjson.loads(row["entries"])),
        numbers=numbers_of(row),
        reason=row["reason"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _fitting(rows: Iterable[asyncpg.Record], size: int) -> Iterator[asyncpg.Record]:
    """The first `size` rows, or as many as make a page: at least one."""
    total = 0
    for row in islice(rows, size):
        yield row
        total += 512 + len(row["entries"].encode()) + len(row["reason"].encode())
        if total > MAX_PAGE_BYTES:
            return
