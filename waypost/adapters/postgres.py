"""A pool of connections to PostgreSQL for one job role, which fails fast and heals by itself.

Why not the driver's own pool: ours starts without a server, never waits for a connection that does not answer (it is
cut off, not closed), spends no round trip on giving a connection back, and looks after a lost server from one place,
so that callers meet a refusal within microseconds and never do the looking.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import asyncpg
import structlog

from waypost.adapters.postgres_session import Session, session_settings, unavailable
from waypost.backoff import Backoff
from waypost.breaker import Breaker, BreakerState
from waypost.errors import Overloaded

PROBE_INTERVAL = 1.0
PROBE_TIMEOUT = 0.5
IDLE_SECONDS = 60.0
LEAST_PAUSE = 0.05
LOOK = Backoff(base=0.5, cap=0.5, floor=0.1)
"""Waits between two looks at a server that is away."""


class Postgres:
    """Connections of one job role. Times in seconds.

    `role`: the job role; where the DSN's user is another one, each connection becomes it (`SET ROLE`). `max_size`
    counts lent and idle connections; one more is kept for looking after the server. A caller waits `acquire_timeout`
    for a connection, longer while some are only being made, and `command_timeout` for a statement. Without `start`, or
    before the server answered for the first time, callers connect by themselves.
    """

    def __init__(
        self,
        dsn: str,
        role: str | None = None,
        *,
        application_name: str = "waypost",
        max_size: int = 10,
        acquire_timeout: float = 0.25,
        command_timeout: float = 2.0,
        connect_timeout: float = 1.0,
        breaker: Breaker | None = None,
    ) -> None:
        self.role = role or ""
        self.log: Any = structlog.get_logger()
        self.breaker = breaker or Breaker(failures=2, retry_after=0.5)
        self._dsn = dsn
        self._max_size = max_size
        self._acquire_timeout = acquire_timeout
        self._command_timeout = command_timeout
        self._connect_timeout = connect_timeout
        self._settings = session_settings(role, application_name, command_timeout)
        self._slots = asyncio.Semaphore(max_size)
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._lent: set[asyncpg.Connection] = set()
        self._connecting = 0
        self._watcher: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._looked = asyncio.Event()
        self._answered_at = float("-inf")
        self._closing = False

    async def start(self) -> None:
        """Begins to look after the server, in the background; returns at once and never fails."""
        self._watcher = asyncio.create_task(self._watch(), name=f"postgres {self.role}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Session]:
        """Lends a connection. Raises `DependencyUnavailable`, or `Overloaded` when all of them are busy and the server
        well.

        A transaction that is still open at the end costs the connection.
        """
        connection = await self._acquire()
        session = Session(self, connection)
        try:
            yield session
        finally:
            self._give_back(session, connection)

    async def check(self) -> None:
        """For health: returns if the server has just answered, else raises `DependencyUnavailable`; asks nobody
        itself."""
        if not self._looked.is_set() and self._watcher is not None:
            try:
                async with asyncio.timeout(self._connect_timeout + PROBE_TIMEOUT):
                    await self._looked.wait()
            except TimeoutError:
                raise unavailable() from None
        silent = time.monotonic() - self._answered_at
        if self.breaker.state is not BreakerState.CLOSED or silent > 2 * (PROBE_INTERVAL + PROBE_TIMEOUT):
            raise unavailable()

    @property
    def in_use(self) -> int:
        """Connections that are lent at this moment."""
        return len(self._lent)

    @property
    def idle(self) -> int:
        """Connections that wait to be lent."""
        return len(self._idle)

    def answered(self) -> None:
        """The server answered, if only by a refusal."""
        self._answered_at = time.monotonic()
        if self.breaker.state is not BreakerState.CLOSED:
            self.log.info("postgres_back", role=self.role)
        self.breaker.success()

    def lost(self) -> None:
        """The server did not answer."""
        was = self.breaker.state
        self.breaker.failure()
        self._look.set()
        if self.breaker.state is BreakerState.OPEN:
            if was is BreakerState.CLOSED:
                self.log.warning("postgres_away", role=self.role)
            self._drop_idle()

    async def aclose(self, timeout: float = 2.0) -> None:
        """Waits at most `timeout` for lent connections, then closes everything; what does not close in time is cut
        off."""
        self._closing = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        try:
            async with asyncio.timeout(timeout):
                for _ in range(self._max_size):
                    await self._slots.acquire()
        except TimeoutError:
            pass
        for connection in self._lent:
            connection.terminate()
        idle, self._idle = [connection for connection, _ in self._idle], []
        await asyncio.gather(*(connection.close(timeout=0.5) for connection in idle), return_exceptions=True)
        for connection in idle:
            connection.terminate()

    async def _acquire(self) -> asyncpg.Connection:
        if self._closing or self.breaker.state is not BreakerState.CLOSED:
            raise unavailable()
        await self._take_slot()
        try:
            if self.breaker.state is not BreakerState.CLOSED:
                raise unavailable()  # found out while we waited
            connection = self._take_idle() or await self._connect()
        except BaseException:
            self._slots.release()
            raise
        self._lent.add(connection)
        return connection

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        began = time.monotonic()
        self._look.set()
        # Behind connections that are only just being made, as in the first burst after a start, nobody is too many yet.
        patience = self._acquire_timeout + (self._connect_timeout if self._connecting else 0.0)
        try:
            async with asyncio.timeout(patience):
                await self._slots.acquire()
        except TimeoutError:
            # Somebody has looked in the meantime: a server that is well means that we are too many.
            if self._answered_at >= began:
                raise Overloaded(self._max_size) from None
            raise unavailable() from None

    def _take_idle(self) -> asyncpg.Connection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _connect(self) -> asyncpg.Connection:
        self._connecting += 1
        try:
            return await asyncpg.connect(
                self._dsn,
                timeout=self._connect_timeout,
                command_timeout=self._command_timeout,
                server_settings=self._settings,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # A server that is full answers those who are in: not a reason to stop using their connections.
            if not isinstance(error, asyncpg.TooManyConnectionsError):
                self.lost()
            raise unavailable() from error
        finally:
            self._connecting -= 1

    def _give_back(self, session: Session, connection: asyncpg.Connection) -> None:
        task = session.under_way
        if task is not None and not task.done():
            task.add_done_callback(lambda _: self._give_back(session, connection))
            return
        if task is not None and not task.cancelled():
            task.exception()  # its caller may be gone; the error has been counted
        self._lent.discard(connection)
        if session.reusable and not self._closing and self.breaker.state is BreakerState.CLOSED:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.terminate()
        self._slots.release()

    def _drop_idle(self, before: float = float("inf")) -> None:
        stale = [connection for connection, since in self._idle if since < before]
        self._idle = [(connection, since) for connection, since in self._idle if since >= before]
        for connection in stale:
            connection.terminate()

    async def _watch(self) -> None:
        connection: asyncpg.Connection | None = None
        said = ""
        try:
            while True:
                try:
                    if connection is None or connection.is_closed():
                        connection = await asyncpg.connect(
                            self._dsn, timeout=self._connect_timeout, server_settings=self._settings
                        )
                    await connection.fetchval("SELECT 1", timeout=PROBE_TIMEOUT)
                except Exception as error:
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    # See `_connect`: a server that is full is not away.
                    if not isinstance(error, asyncpg.TooManyConnectionsError):
                        self.lost()
                    reason = f"{type(error).__name__}: {error}"
                    if reason != said:
                        self.log.warning("postgres_probe_failed", role=self.role, error=reason)
                    said = reason
                    wait = LOOK.delay(0)
                else:
                    said = ""
                    self.answered()
                    self._drop_idle(before=time.monotonic() - IDLE_SECONDS)
                    wait = PROBE_INTERVAL
                self._looked.set()
                await self._pause(wait)
        finally:
            if connection is not None:
                connection.terminate()

    async def _pause(self, seconds: float) -> None:
        # Callers may ask for an earlier look, but only while they are still served.
        self._look.clear()
        if self.breaker.state is not BreakerState.CLOSED:
            await asyncio.sleep(seconds)
            return
        await asyncio.sleep(LEAST_PAUSE)
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            pass
