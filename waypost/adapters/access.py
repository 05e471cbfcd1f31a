"""Puts authentication together from a service's settings, for the service's composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from waypost.access.authentication import Authenticator
from waypost.access.failures import Failures
from waypost.access.jwks_source import source_for
from waypost.access.policies import POLICIES
from waypost.access.settings import TokenSettings
from waypost.access.tokens import TokenVerifier
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_credentials import PostgresCredentials
from waypost.ports import Clock
from waypost.rpc.access import Access
from waypost.rpc.health import Check
from waypost.rpc.server import HEALTH_CHECK


@dataclass(frozen=True, slots=True)
class AccessControl:
    """The gate of a service, the tasks that run beside it, what health looks at, and the store of credentials."""

    gate: Access
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...]
    checks: tuple[Check, ...]
    credentials: PostgresCredentials | None


@asynccontextmanager
async def access_control(
    settings: TokenSettings, name: str, clock: Clock, *, anonymous: bool = False
) -> AsyncIterator[AccessControl]:
    """The access control that the settings describe; `name` is the service's.

    Without a database, or without a pepper, no API key counts. `anonymous`: see `Access`.
    """
    tasks: list[Callable[[], Coroutine[Any, Any, None]]] = []
    checks: list[Check] = []
    tokens: TokenVerifier | None = None
    if (source := source_for(settings)) is not None:
        tokens = TokenVerifier(source, settings.claim_rules())
        tasks.append(source.run)
        checks.append(Check("jwks", source.check, required=False))
    dsn = settings.identity_dsn() if settings.peppers() else ""
    # Short: what is not known within its age is not known.
    postgres = Postgres(
        dsn,
        "waypost_identity",
        application_name=f"{name}-identity",
        max_size=4,
        command_timeout=0.5,
        connect_timeout=0.5,
    )
    credentials = PostgresCredentials(postgres) if dsn else None
    authenticator = Authenticator(
        credentials,
        settings.peppers(),
        tokens,
        settings.operator_subjects(),
        clock,
        Failures(settings.failed_credentials_per_minute),
    )
    gate = Access(
        authenticator,
        POLICIES,
        settings.trusted_networks(),
        anonymous=anonymous,
        exempt=frozenset({HEALTH_CHECK}),
    )
    if credentials is None:
        yield AccessControl(gate, tuple(tasks), tuple(checks), None)
        return
    async with postgres:
        try:
            yield AccessControl(
                gate,
                (*tasks, authenticator.run),
                (*checks, Check("identity", postgres.check, required=False)),
                credentials,
            )
        finally:
            await authenticator.note_used()
