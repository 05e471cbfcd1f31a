"""The first operator key: without one nobody could make any other."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import asyncpg

from waypost.access.api_keys import ApiKey, digest_of
from waypost.access.identity import Role
from waypost.adapters.queries import QUERIES
from waypost.model import DEFAULT_WORKSPACE

NAME = "first operator key"

_MAKER, _READER = "waypost_operator", "waypost_identity"
"""Who may make keys, and who may read their digests."""


async def has_operator_key(dsn: str) -> bool:
    """Whether any operator key counts. `dsn` is the owner's. Raises `asyncpg.PostgresError`, `OSError`."""
    return bool(await _as(_MAKER, dsn, QUERIES["has_operator_key"]))


async def keep_operator_key(dsn: str, key: ApiKey, pepper: bytes) -> bool:
    """Stores an operator key of the default workspace, unless its id is there; whether it did. Raises as above."""
    row = (key.key_id, DEFAULT_WORKSPACE, NAME, Role.OPERATOR.value, digest_of(key, pepper))
    stored = await _as(_MAKER, dsn, QUERIES["keep_operator_key"], *row)
    return stored is not None


async def is_kept_under(dsn: str, key: ApiKey, peppers: Sequence[bytes]) -> bool:
    """Whether what is stored under the key's id is this very key's, by one of the peppers. Raises as above."""
    stored = await _as(_READER, dsn, QUERIES["read_key_digest"], key.key_id)
    return isinstance(stored, bytes) and any(hmac.compare_digest(digest_of(key, one), stored) for one in peppers)


async def _as(role: str, dsn: str, query: str, *args: object) -> object:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        # The owner sees no rows either where row-level security is forced.
        await connection.execute(f"SET ROLE {role}")
        return await connection.fetchval(query, *args)
    finally:
        await connection.close(timeout=5)
