"""The first operator key: without one nobody could make any other."""

from __future__ import annotations

import asyncpg

from waypost.access.api_keys import ApiKey, digest_of
from waypost.access.identity import Role
from waypost.adapters.queries import QUERIES
from waypost.model import DEFAULT_WORKSPACE

NAME = "first operator key"


async def has_operator_key(dsn: str) -> bool:
    """Whether any operator key counts. `dsn` is the owner's. Raises `asyncpg.PostgresError`, `OSError`."""
    return bool(await _as_operator(dsn, QUERIES["has_operator_key"]))


async def keep_operator_key(dsn: str, key: ApiKey, pepper: bytes) -> bool:
    """Stores an operator key of the default workspace, unless its id is there; whether it did. Raises as above."""
    row = (key.key_id, DEFAULT_WORKSPACE, NAME, Role.OPERATOR.value, digest_of(key, pepper))
    stored = await _as_operator(dsn, QUERIES["keep_operator_key"], *row)
    return stored is not None


async def _as_operator(dsn: str, query: str, *args: object) -> object:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        # The owner sees no rows either where row-level security is forced.
        await connection.execute("SET ROLE waypost_operator")
        return await connection.fetchval(query, *args)
    finally:
        await connection.close(timeout=5)
