"""Follows what changes links, over one connection that listens to PostgreSQL's notifications and shows that it is
alive.

Who keeps links in memory may trust them as of `last_heartbeat`: every change that was acknowledged to its caller before
that moment has been told. When the connection is made anew, changes may have been missed: `epoch` rises, and what was
kept under an earlier epoch has to be asked for again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import structlog

from waypost.adapters.postgres_session import session_settings
from waypost.backoff import Backoff
from waypost.clock import ServerClock

CHANNEL = "waypost_links"
RECONNECT = Backoff(base=0.1, cap=1.0, floor=0.02)


class PostgresChangeFeed:
    """The feed of one process. Times in seconds.

    `on_change(short_code, version)` and `on_gap()` are called on the event loop and must return at once. An idle feed
    asks for a heartbeat every `interval`; one that takes longer than `timeout` means that the connection is lost.
    """

    def __init__(
        self,
        dsn: str,
        role: str | None,
        on_change: Callable[[str, int], None],
        on_gap: Callable[[], None],
        clock: ServerClock,
        interval: float = 0.25,
        *,
        timeout: float = 0.5,
        connect_timeout: float = 1.0,
        application_name: str = "waypost-changes",
    ) -> None:
        self._dsn = dsn
        self._on_change = on_change
        self._on_gap = on_gap
        self._clock = clock
        self._interval = interval
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._settings = session_settings(role, application_name, command_timeout=max(1.0, 2 * timeout))
        self._last_heartbeat = float("-inf")
        self._epoch = 0
        self._suspect = False

    @property
    def last_heartbeat(self) -> float:
        """When (`loop.time()`) the last heartbeat that was answered began; minus infinity: there was none."""
        return self._last_heartbeat

    @property
    def epoch(self) -> int:
        """Rises with every connection; 0: there was none."""
        return self._epoch

    async def run(self) -> None:
        """Follows until cancelled; connects again and again, at most a second apart."""
        log = structlog.get_logger()
        attempt = 0
        said = ""
        while True:
            before = self._epoch
            try:
                await self._connect_and_follow()
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != said or self._epoch != before:
                    log.warning("change_feed_lost", error=reason)
                said = reason
            attempt = 0 if self._epoch != before else attempt + 1
            await asyncio.sleep(RECONNECT.delay(attempt))

    async def _connect_and_follow(self) -> None:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=self._connect_timeout,
            command_timeout=self._timeout,
            server_settings=self._settings,
        )
        try:
            await connection.add_listener(CHANNEL, self._heard)
            # From here on no change is missed; what was before, may have been.
            self._suspect = False
            self._epoch += 1
            self._on_gap()
            loop = asyncio.get_running_loop()
            while True:
                began, before = loop.time(), time.monotonic()
                server = await connection.fetchval("SELECT clock_timestamp()")
                if self._suspect:
                    raise RuntimeError("a notification could not be passed on")
                # The server sends what it has to tell before it says that the statement is done, and the driver calls
                # `_heard` in that order: nothing acknowledged before `began` is still on its way.
                self._clock.observe(server, before, time.monotonic())
                self._last_heartbeat = began
                await asyncio.sleep(self._interval)
        finally:
            # Not closed: that would wait for an answer.
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        code, _, version = str(payload).rpartition(" ")
        try:
            self._on_change(code, int(version))
        except Exception:
            # Whoever did not take it has missed a change; a new connection makes that a gap.
            self._suspect = True
            structlog.get_logger().exception("change_feed_notification", payload=payload)
