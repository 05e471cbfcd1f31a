"""Members, keys and the workspace itself in PostgreSQL: inside a transaction of the workspace, and read for lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from waypost.access.api_keys import scopes_of
from waypost.access.identity import ROLE_SCOPES, Role
from waypost.accounts import Key, KeyPlace, Member, NewKey, Workspace
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_session import Session
from waypost.adapters.postgres_workspace import reading_in
from waypost.adapters.queries import QUERIES

_KEY_ID = re.compile(r"[A-Za-z0-9]{16}")


class PostgresMembers:
    """The members of one workspace inside one transaction.

    All that count or change members of one workspace go one after the other, so the last two owners cannot both go.
    """

    def __init__(self, session: Session, workspace_id: UUID) -> None:
        self._session = session
        self._workspace_id = workspace_id

    async def add(self, member: Member) -> bool:
        """Adds somebody; False: the subject is a member. Waits for a rival that adds the same."""
        row = await self._session.fetchrow(
            QUERIES["insert_member"], self._workspace_id, member.subject, member.role.value, member.name
        )
        return row is not None

    async def lock(self, subject: str) -> Member | None:
        """The member; nobody else changes any member of the workspace before the transaction is over."""
        if not _could_be_text(subject):
            return None
        await self._take_turn()
        row = await self._session.fetchrow(QUERIES["get_member"], self._workspace_id, subject)
        return None if row is None else _member_of(row)

    async def update(self, member: Member) -> Member:
        """Stores role and name of a locked member. Returns it as it is now."""
        row = await self._session.fetchrow(
            QUERIES["update_member"], self._workspace_id, member.subject, member.role.value, member.name
        )
        if row is None:
            raise LookupError("a locked member has gone")
        return _member_of(row)

    async def remove(self, subject: str) -> None:
        """Takes a locked member out."""
        await self._session.execute(QUERIES["delete_member"], self._workspace_id, subject)

    async def count(self, *, owners_only: bool = False) -> int:
        """How many there are; rivals that ask in other transactions wait for this one's end."""
        await self._take_turn()
        return int(await self._session.fetchval(QUERIES["count_members"], self._workspace_id, owners_only))

    async def _take_turn(self) -> None:
        # A statement of its own: what is read next is to see what the one before us has done.
        await self._session.execute(QUERIES["lock_members"], self._workspace_id)


class PostgresKeys:
    """The keys of one workspace inside one transaction."""

    def __init__(self, session: Session, workspace_id: UUID) -> None:
        self._session = session
        self._workspace_id = workspace_id

    async def add(self, key: NewKey) -> Key:
        """Stores a key. One with all of its role's scopes has what a later release gives the role, too."""
        if not key.scopes or not key.scopes <= ROLE_SCOPES[key.role]:
            raise ValueError("the scopes of a key are some of its role's")
        every = key.scopes == ROLE_SCOPES[key.role]
        row = await self._session.fetchrow(
            QUERIES["insert_key"],
            key.key_id,
            self._workspace_id,
            key.name,
            key.role.value,
            [] if every else sorted(key.scopes),
            key.digest,
            key.created_by,
            key.expires_at,
        )
        if row is None:
            raise LookupError("a stored key has gone")
        return _key_of(row)

    async def revoke(self, key_id: str) -> tuple[Key, bool] | None:
        """Revokes a key; the key as it is now, and whether it was not revoked before. None: there is none."""
        if not _KEY_ID.fullmatch(key_id):
            return None
        row = await self._session.fetchrow(QUERIES["revoke_key"], self._workspace_id, key_id)
        if row is not None:
            return _key_of(row), True
        row = await self._session.fetchrow(QUERIES["get_key"], self._workspace_id, key_id)
        return None if row is None else (_key_of(row), False)

    async def count_live(self) -> int:
        """How many are neither revoked nor expired; rivals that ask in other transactions wait for this one's end."""
        # A statement of its own: the count is to see what the one before us has done.
        await self._session.execute(QUERIES["lock_keys"], self._workspace_id)
        return int(await self._session.fetchval(QUERIES["count_live_keys"], self._workspace_id))


class PostgresOwnWorkspace:
    """The workspace of one transaction."""

    def __init__(self, session: Session, workspace_id: UUID) -> None:
        self._session = session
        self._workspace_id = workspace_id

    async def lock(self) -> Workspace | None:
        """The workspace; nobody else renames it before the transaction is over. None: it is not there."""
        row = await self._session.fetchrow(QUERIES["lock_workspace"], self._workspace_id)
        return None if row is None else workspace_of(row)

    async def rename(self, name: str) -> Workspace | None:
        """Renames it. Returns it as it is now; None: it is not there."""
        row = await self._session.fetchrow(QUERIES["rename_workspace"], self._workspace_id, name)
        return None if row is None else workspace_of(row)


class PostgresAccountReader:
    """Reads about one workspace at a time, which row-level security holds it to."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def get_workspace(self, workspace_id: UUID) -> Workspace | None:
        """The workspace."""
        async with reading_in(self._postgres, workspace_id) as session:
            row = await session.fetchrow(QUERIES["get_workspace"], workspace_id)
        return None if row is None else workspace_of(row)

    async def list_members(self, workspace_id: UUID, size: int, after: str) -> Sequence[Member]:
        """At most `size` members by subject, those behind `after`."""
        async with reading_in(self._postgres, workspace_id) as session:
            rows = await session.fetch(QUERIES["list_members"], workspace_id, after, size)
        return [_member_of(row) for row in rows]

    async def list_keys(self, workspace_id: UUID, size: int, after: KeyPlace | None) -> Sequence[Key]:
        """At most `size` keys, the newest first, those behind `after`."""
        created_at, key_id = (None, None) if after is None else (after.created_at, after.key_id)
        async with reading_in(self._postgres, workspace_id) as session:
            rows = await session.fetch(QUERIES["list_keys"], workspace_id, created_at, key_id, size)
        return [_key_of(row) for row in rows]

    async def get_key(self, workspace_id: UUID, key_id: str) -> Key | None:
        """The key."""
        if not _KEY_ID.fullmatch(key_id):
            return None
        async with reading_in(self._postgres, workspace_id) as session:
            row = await session.fetchrow(QUERIES["get_key"], workspace_id, key_id)
        return None if row is None else _key_of(row)


def workspace_of(row: asyncpg.Record) -> Workspace:
    """The workspace of a row."""
    return Workspace(row["id"], row["name"], row["created_at"])


def _member_of(row: asyncpg.Record) -> Member:
    return Member(row["subject"], Role(row["role"]), row["name"], row["created_at"])


def _key_of(row: asyncpg.Record) -> Key:
    role = Role(row["role"])
    return Key(
        key_id=row["id"],
        name=row["name"],
        role=role,
        scopes=scopes_of(role, row["scopes"]),
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )


def _could_be_text(subject: str) -> bool:
    """Whether it is worth asking for: no subject has what PostgreSQL's text cannot hold."""
    return subject.isascii() and subject.isprintable()
