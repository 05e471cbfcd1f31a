"""API keys and workspaces put straight into a database, for tests that need them and are not about making them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg

from waypost.access.api_keys import ApiKey, digest_of, new_key
from waypost.access.identity import Role, Scope
from waypost.model import DEFAULT_WORKSPACE

PEPPER = "0123456789abcdef" * 4
"""For services that are started without `waypost up`, which makes its own."""

_KEYS = """
INSERT INTO api_keys (id, workspace_id, name, role, scopes, digest, created_by, expires_at)
VALUES ($1, $2, 'test', $3, $4, $5, 'system:test', $6)
"""


async def add_keys(
    dsn: str,
    pepper: str,
    count: int,
    role: Role = Role.OWNER,
    *,
    workspace_id: UUID = DEFAULT_WORKSPACE,
    scopes: Sequence[Scope] = (),
    expires_at: datetime | None = None,
) -> list[str]:
    """New keys, as they go in `x-api-key`. `dsn` is the database's owner's; without `scopes` all of the role's."""
    keys = [new_key() for _ in range(count)]

    def row(key: ApiKey) -> tuple[object, ...]:
        return key.key_id, workspace_id, role.value, list(scopes), digest_of(key, pepper.encode()), expires_at

    connection = await _as_operator(dsn)
    try:
        await connection.executemany(_KEYS, [row(key) for key in keys])
    finally:
        await connection.close(timeout=5)
    return [key.text for key in keys]


async def add_key(dsn: str, pepper: str = PEPPER, role: Role = Role.OWNER) -> str:
    """One new key of the default workspace."""
    (key,) = await add_keys(dsn, pepper, 1, role)
    return key


async def add_workspace(dsn: str, name: str = "another") -> UUID:
    """A new workspace without anybody in it; its id."""
    workspace_id = uuid4()
    connection = await _as_operator(dsn)
    try:
        await connection.execute("INSERT INTO workspaces (id, name) VALUES ($1, $2)", workspace_id, name)
    finally:
        await connection.close(timeout=5)
    return workspace_id


async def _as_operator(dsn: str) -> asyncpg.Connection:
    """A connection in the role that makes these rows when the services do."""
    connection: asyncpg.Connection = await asyncpg.connect(dsn, timeout=10)
    await connection.execute("SET ROLE waypost_operator")
    return connection
