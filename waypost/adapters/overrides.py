"""Puts overrides together from the URL of a database, for the rate limiter's composition root."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from waypost.adapters.override_feed import PostgresOverrideFeed
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_overrides import PostgresOverrides
from waypost.clock import ServerClock
from waypost.overrides import LiveOverride
from waypost.rpc.health import Check

ROLE = "waypost_limiter"
POOL = 2
"""Connections for operators' calls, which are few."""

SILENT = 2.0
"""Seconds without a heartbeat after which changes may have been missed for longer than is promised."""


@dataclass(frozen=True, slots=True)
class FollowedOverrides:
    """Where overrides are kept (None: nowhere), the tasks that run beside the service, and what health looks at."""

    store: PostgresOverrides | None
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...]
    checks: tuple[Check, ...]


@asynccontextmanager
async def followed_overrides(
    dsn: str, name: str, on_overrides: Callable[[Mapping[bytes, LiveOverride]], None], clock: ServerClock
) -> AsyncIterator[FollowedOverrides]:
    """The overrides in the database at `dsn` (empty: there is none); `name` is the service's.

    `on_overrides` gets all that are in force, at first and after each change.
    """
    if not dsn:
        yield FollowedOverrides(None, (), ())
        return
    feed = PostgresOverrideFeed(dsn, ROLE, on_overrides, clock, application_name=f"{name}-override-feed")

    async def check() -> None:
        if time.monotonic() - feed.last_heartbeat > SILENT:
            raise ConnectionError("no heartbeat from the database; the overrides known last are in force")

    async with Postgres(dsn, ROLE, application_name=f"{name}-overrides", max_size=POOL) as postgres:
        yield FollowedOverrides(PostgresOverrides(postgres), (feed.run,), (Check("overrides", check, required=False),))
