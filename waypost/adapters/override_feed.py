"""Follows overrides of rate limits over one connection of its own: told of changes, asking after them besides.

A change is told by PostgreSQL's notifications, so it is known within milliseconds. Whoever connects through a pool that
keeps those back hears nothing; so each heartbeat also asks how often overrides were changed, which is one small row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import asyncpg
import structlog

from waypost.adapters.postgres_overrides import numbers_of
from waypost.adapters.postgres_session import session_settings
from waypost.adapters.queries import QUERIES
from waypost.backoff import Backoff
from waypost.clock import ServerClock
from waypost.overrides import LiveOverride

CHANNEL = "waypost_limit_overrides"
RECONNECT = Backoff(base=0.1, cap=0.4, floor=0.02)
AT_ONCE = 100
"""Rows that are read in one statement: nobody's decision is to wait for thousands of them."""

_BUSY_SHARE = 4
"""After a reading it rests so many times as long as that took, at most `interval`: changes that come one upon another
are read together."""


class PostgresOverrideFeed:
    """The feed of one process. Times in seconds.

    `on_overrides` gets all overrides that are in force by their digests, at first and after each change; it is called
    on the event loop and must return at once. `clock` is kept at the database's time. A heartbeat that takes longer
    than `timeout` means that the connection is lost.
    """

    def __init__(
        self,
        dsn: str,
        role: str | None,
        on_overrides: Callable[[Mapping[bytes, LiveOverride]], None],
        clock: ServerClock,
        interval: float = 0.25,
        *,
        timeout: float = 0.5,
        connect_timeout: float = 1.0,
        application_name: str = "waypost-overrides",
    ) -> None:
        self._dsn = dsn
        self._on_overrides = on_overrides
        self._clock = clock
        self._interval = interval
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._settings = session_settings(role, application_name, command_timeout=max(1.0, 2 * timeout))
        self._told = asyncio.Event()
        self._last_heartbeat = float("-inf")

    @property
    def last_heartbeat(self) -> float:
        """When (`loop.time()`) the last heartbeat began whose changes are all known; minus infinity: there was none."""
        return self._last_heartbeat

    async def run(self) -> None:
        """Follows until cancelled; connects again and again, at most half a second apart."""
        log = structlog.get_logger()
        attempt = 0
        said = ""
        while True:
            before = self._last_heartbeat
            try:
                await self._connect_and_follow()
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != said or self._last_heartbeat != before:
                    log.warning("override_feed_lost", error=reason)
                said = reason
            attempt = 0 if self._last_heartbeat != before else attempt + 1
            await asyncio.sleep(RECONNECT.delay(attempt))

    async def _connect_and_follow(self) -> None:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=self._connect_timeout,
            command_timeout=self._timeout,
            server_settings=self._settings,
        )
        try:
            await connection.add_listener(CHANNEL, lambda *_: self._told.set())
            loop = asyncio.get_running_loop()
            known: int | None = None
            while True:
                self._told.clear()
                began, before = loop.time(), time.monotonic()
                row = await connection.fetchrow(QUERIES["heartbeat_of_overrides"])
                if row is None:
                    raise LookupError("the count of changes has no row")
                self._clock.observe(row["now"], before, time.monotonic())
                if row["number"] != known:
                    # What changes while they are read raises the number again.
                    self._on_overrides(await _read(connection))
                    known = row["number"]
                    self._last_heartbeat = began
                    await asyncio.sleep(min(self._interval, _BUSY_SHARE * (loop.time() - began)))
                else:
                    self._last_heartbeat = began
                await self._pause()
        finally:
            # Not closed: that would wait for an answer.
            connection.terminate()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._interval):
                await self._told.wait()
        except TimeoutError:
            pass


async def _read(connection: asyncpg.Connection) -> dict[bytes, LiveOverride]:
    """All overrides that are in force, by their digests."""
    overrides: dict[bytes, LiveOverride] = {}
    after = b""
    while True:
        rows = await connection.fetch(QUERIES["read_live_overrides"], after, AT_ONCE)
        for row in rows:
            overrides[row["digest"]] = LiveOverride(row["domain"], numbers_of(row), row["expires_at"])
        if len(rows) < AT_ONCE:
            return overrides
        after = rows[-1]["digest"]
