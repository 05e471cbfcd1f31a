"""Brings a database to this build's schema: numbered plain SQL files, each applied once, in its own transaction.

Expand only: a migration may add, never take away what the release before still uses, so that two releases can serve
side by side while the newer one is rolled out.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg

from waypost.adapters.roles import JOB_ROLES, scram_verifier
from waypost.backoff import Backoff

__all__ = [
    "JOB_ROLES",
    "ChecksumChanged",
    "Migration",
    "MigrationError",
    "MigrationStatus",
    "MigrationTimedOut",
    "SchemaTooNew",
    "migrate",
    "migrations",
    "set_role_passwords",
    "status",
]

FOLDER = Path(__file__).with_name("migrations")
LOCK_TIMEOUT_MS = 2000
"""Most time a statement waits for a lock. While it waits, everyone behind it waits too, so it gives up and tries
again."""

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_ADVISORY_LOCK = 0x77617970  # "wayp"
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationError(Exception):
    """The schema cannot be brought up to date; `exit_code` is what a command ends with."""

    exit_code = 1


class SchemaTooNew(MigrationError):
    """A newer Waypost has migrated the database; this one must not touch it."""

    exit_code = 2

    def __init__(self, found: int, known: int) -> None:
        self.found = found
        self.known = known
        super().__init__(f"the database has schema {found:04d} of a newer Waypost; this one knows {known:04d}")


class ChecksumChanged(MigrationError):
    """The file of an applied migration is not the one that was applied."""

    exit_code = 2

    def __init__(self, migration: str) -> None:
        self.migration = migration
        super().__init__(f"migration {migration} was changed after it was applied to this database")


class MigrationTimedOut(MigrationError):
    """Others kept what the migration needs locked for all of `timeout` seconds; nothing is half done."""

    def __init__(self, migration: str, timeout: float) -> None:
        self.migration = migration
        super().__init__(f"migration {migration} did not get its locks within {timeout:g} s; try again later")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` and `name` from its name."""

    version: int
    name: str
    sql: str

    @property
    def id(self) -> str:
        """`0001_roles`."""
        return f"{self.version:04d}_{self.name}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration and when it was applied; None: it was not."""

    id: str
    applied_at: datetime | None


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All migrations of this build in order. Raises `ValueError` for a misnamed file, a gap or a number given twice."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name} is not named like 0001_name.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations must be numbered 0001, 0002, … without gaps")
    return found


async def migrate(dsn: str, *, steps: Sequence[Migration] | None = None, timeout: float = 60.0) -> list[str]:
    """Applies what is missing and returns the ids of what it applied; a second call does nothing.

    `dsn` is the owner's: it may create tables in `public` and roles (CREATEROLE). Only one migrator works at a time;
    the others wait. Within `timeout` seconds in all, a migration that does not get its locks is tried again. Raises
    `MigrationError`, `asyncpg.PostgresError`, `OSError`.
    """
    steps = migrations() if steps is None else steps
    deadline = asyncio.get_running_loop().time() + timeout
    connection = await _connect(dsn)
    try:
        await _take_lock(connection, deadline, timeout)
        applied = await _applied(connection)
        _check(applied, steps)
        done = []
        for step in steps:
            if step.version not in applied:
                await _apply(connection, step, deadline, timeout)
                done.append(step.id)
        return done
    finally:
        # Closing the session gives up its advisory lock.
        await connection.close(timeout=5)


async def status(dsn: str, *, steps: Sequence[Migration] | None = None) -> list[MigrationStatus]:
    """Every migration of this build with the time it was applied. Raises as `migrate` does."""
    steps = migrations() if steps is None else steps
    connection = await _connect(dsn)
    try:
        applied = await _applied(connection)
    finally:
        await connection.close(timeout=5)
    _check(applied, steps)
    return [MigrationStatus(step.id, applied[step.version][1] if step.version in applied else None) for step in steps]


async def set_role_passwords(dsn: str, passwords: Mapping[str, str]) -> None:
    """Gives login roles their passwords (printable ASCII), as an owner who may alter them.

    Only SCRAM verifiers travel, so that no password can land in the server's log. Raises `asyncpg.PostgresError`,
    `OSError`, `ValueError`.
    """
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        async with connection.transaction():
            # Two that alter one role at a time fail with "tuple concurrently updated"; the lock is this database's.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('waypost role passwords'))")
            for role, password in passwords.items():
                statement = await connection.fetchval(
                    "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, scram_verifier(password)
                )
                await connection.execute(statement)
    finally:
        await connection.close(timeout=5)


async def _connect(dsn: str) -> asyncpg.Connection:
    settings = {
        "application_name": "waypost-migrate",
        "search_path": "public",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "60000",
        "client_min_messages": "warning",
        # A step that row-level security hides rows from shall fail, not pass them over without a word.
        "row_security": "off",
    }
    return await asyncpg.connect(dsn, timeout=10, server_settings=settings)


async def _take_lock(connection: asyncpg.Connection, deadline: float, timeout: float) -> None:
    # Asked for again and again instead of waited for: a waiting statement holds a snapshot, which others may wait for.
    backoff = Backoff(base=0.05, cap=1.0, floor=0.02)
    attempt = 0
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _ADVISORY_LOCK):
        await _wait(backoff.delay(attempt), deadline, "(another migrator is at work)", timeout)
        attempt += 1


async def _applied(connection: asyncpg.Connection) -> dict[int, tuple[str, datetime]]:
    if await connection.fetchval("SELECT to_regclass('public.schema_migrations') IS NULL"):
        return {}
    rows = await connection.fetch("SELECT version, checksum, applied_at FROM schema_migrations")
    return {row["version"]: (row["checksum"], row["applied_at"]) for row in rows}


def _check(applied: dict[int, tuple[str, datetime]], steps: Sequence[Migration]) -> None:
    known = max((step.version for step in steps), default=0)
    newest = max(applied, default=0)
    if newest > known:
        raise SchemaTooNew(newest, known)
    for step in steps:
        if step.version in applied and applied[step.version][0] != step.checksum:
            raise ChecksumChanged(step.id)


async def _apply(connection: asyncpg.Connection, step: Migration, deadline: float, timeout: float) -> None:
    backoff = Backoff(base=0.2, cap=5.0, floor=0.05)
    attempt = 0
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_TABLE)
                await connection.execute(step.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                    step.version,
                    step.name,
                    step.checksum,
                )
            return
        except asyncpg.PostgresError as error:
            if not _worth_retrying(error):
                raise
        await _wait(backoff.delay(attempt), deadline, step.id, timeout)
        attempt += 1


def _worth_retrying(error: asyncpg.PostgresError) -> bool:
    if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.DeadlockDetectedError):
        return True
    # Roles belong to the cluster while the advisory lock is this database's: another database's migrator may be at
    # them.
    return isinstance(error, asyncpg.InternalServerError) and "concurrently" in str(error)


async def _wait(delay: float, deadline: float, what: str, timeout: float) -> None:
    if asyncio.get_running_loop().time() + delay > deadline:
        raise MigrationTimedOut(what, timeout)
    await asyncio.sleep(delay)
