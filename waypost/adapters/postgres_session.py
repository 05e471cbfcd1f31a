"""One connection to PostgreSQL while it is lent: how it is set up, and what its errors become."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

import asyncpg
import structlog

from waypost.adapters.postgres_errors import Fault, fault_of
from waypost.errors import DependencyUnavailable

T = TypeVar("T")


class Reports(Protocol):
    """Who wants to know whether the server answers."""

    def answered(self) -> None: ...

    def lost(self) -> None: ...


class LockTimeout(DependencyUnavailable):
    """The server answers, but somebody else has kept a lock for longer than a statement waits for it."""

    def __init__(self) -> None:
        super().__init__("postgres", retry_after=1.0)
        self.args = ("somebody else is changing the same just now; try again in 1 s",)


class Session:
    """A connection while it is lent. Every call raises `DependencyUnavailable` when the server does not answer.

    A statement that is cancelled or runs out of time leaves the connection `broken`: it is cut off when it comes back.
    """

    def __init__(self, reports: Reports, connection: asyncpg.Connection) -> None:
        self._reports = reports
        self._connection = connection
        self.broken = False
        self.under_way: asyncio.Task[str] | None = None

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """All rows."""
        return await self._call(self._connection.fetch(query, *args))

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """The first row."""
        return await self._call(self._connection.fetchrow(query, *args))

    async def fetchval(self, query: str, *args: object) -> Any:
        """The first column of the first row."""
        return await self._call(self._connection.fetchval(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """The command's tag."""
        return await self._call(self._connection.execute(query, *args))

    async def finish(self, query: str) -> str:
        """As `execute`, but a caller that is cancelled does not stop it: the connection comes back when it is done."""
        self.under_way = asyncio.create_task(self.execute(query))
        return await asyncio.shield(self.under_way)

    def leave(self, query: str) -> None:
        """As `finish`, but nobody waits for it: the caller has what they came for."""
        self.under_way = asyncio.create_task(self.execute(query))

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            result = await call
        except asyncio.CancelledError:
            self.broken = True
            raise
        except Exception as error:
            fault = fault_of(error, connection_closed=self._connection.is_closed())
            if fault in (Fault.LOST, Fault.REJOIN):
                self.broken = True
            if fault is Fault.LOST:
                self._reports.lost()
            else:
                self._reports.answered()
            if fault is Fault.DEFECT:
                raise
            if fault is not Fault.LOST:
                structlog.get_logger().warning("postgres_refused", error=str(error))
            if isinstance(error, asyncpg.LockNotAvailableError):
                raise LockTimeout from error
            raise unavailable() from error
        self._reports.answered()
        return result

    @property
    def reusable(self) -> bool:
        """Whether the connection may be lent again: nothing under way and no transaction left open."""
        return not (self.broken or self._connection.is_closed() or self._connection.is_in_transaction())


def unavailable() -> DependencyUnavailable:
    """The error for a server that does not answer, or cannot do it now."""
    return DependencyUnavailable("postgres", retry_after=1.0)


def session_settings(role: str | None, application_name: str, command_timeout: float) -> dict[str, str]:
    """Server settings of a connection.

    The server gives up on a statement a little before the client, who would take it for lost with the connection.
    """
    milliseconds = max(1, int(command_timeout * 800))
    settings = {
        "application_name": application_name,
        "search_path": "public",
        "timezone": "UTC",
        "statement_timeout": str(milliseconds),
        "lock_timeout": str(max(1, int(command_timeout * 500))),
        "idle_in_transaction_session_timeout": str(max(5000, 2 * milliseconds)),
    }
    if role:
        # Also for the role itself, where it changes nothing.
        settings["role"] = role
    return settings
