"""Keys and memberships in PostgreSQL, as authentication reads them: all workspaces, few columns."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from waypost.access.api_keys import KeyRecord, scopes_of
from waypost.access.identity import Membership, Role
from waypost.adapters.postgres import Postgres
from waypost.adapters.queries import QUERIES

_ROLES = frozenset(Role)


class PostgresCredentials:
    """Reads as the role `waypost_identity`. Every call raises `DependencyUnavailable`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def read_key(self, key_id: str) -> KeyRecord | None:
        """The key's record, also if it is revoked or expired; None also for a role of a newer release."""
        async with self._postgres.connection() as session:
            row = await session.fetchrow(QUERIES["read_key"], key_id)
        if row is None or row["role"] not in _ROLES:
            return None
        role = Role(row["role"])
        return KeyRecord(
            key_id=row["id"],
            workspace_id=row["workspace_id"],
            role=role,
            scopes=scopes_of(role, row["scopes"]),
            digest=row["digest"],
            expires_at=row["expires_at"],
            revoked_at=row["revoked_at"],
        )

    async def read_memberships(self, subject: str) -> Sequence[Membership]:
        """The workspaces that somebody is a member of, by id; at most 1,000."""
        async with self._postgres.connection() as session:
            rows = await session.fetch(QUERIES["read_memberships"], subject)
        return [Membership(row["workspace_id"], Role(row["role"])) for row in rows if row["role"] in _ROLES]

    async def workspace_exists(self, workspace_id: UUID) -> bool:
        """Whether there is such a workspace."""
        async with self._postgres.connection() as session:
            return bool(await session.fetchval(QUERIES["workspace_exists"], workspace_id))

    async def note_use(self, key_ids: Sequence[str]) -> None:
        """Notes that these keys were used just now."""
        async with self._postgres.connection() as session:
            await session.execute(QUERIES["note_key_use"], list(key_ids))
