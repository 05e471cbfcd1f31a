"""What authentication reads and notes in PostgreSQL, across workspaces; and the first operator key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from tests.support.keys import PEPPER, add_keys, add_workspace
from tests.support.postgres import Database, Server, dispose, make_or_skip, temporary_server
from waypost.access.api_keys import digest_of, matches, new_key, parse_key
from waypost.access.identity import ROLE_SCOPES, Membership, Role, Scope
from waypost.adapters.first_key import has_operator_key, keep_operator_key
from waypost.adapters.migrate import migrate
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_credentials import PostgresCredentials
from waypost.errors import DependencyUnavailable
from waypost.model import DEFAULT_WORKSPACE

PEPPERS = (PEPPER.encode(),)


@pytest.fixture
async def credentials(database: Database) -> AsyncIterator[PostgresCredentials]:
    async with Postgres(database.url("waypost_identity"), max_size=4) as pool:
        yield PostgresCredentials(pool)


async def added(database: Database, **options: object) -> tuple[str, str]:
    """A new key's text and id."""
    (text,) = await add_keys(database.url(), PEPPER, 1, **options)  # type: ignore[arg-type]
    key = parse_key(text)
    assert key is not None
    return text, key.key_id


# Keys


@pytest.mark.parametrize("role", Role)
async def test_a_key_is_read_as_it_was_stored(database: Database, credentials: PostgresCredentials, role: Role) -> None:
    expires = datetime.now(UTC) + timedelta(hours=1)
    text, key_id = await added(database, role=role, scopes=[Scope.LINKS_READ], expires_at=expires)
    record = await credentials.read_key(key_id)
    assert record is not None
    assert (record.key_id, record.workspace_id, record.role) == (key_id, DEFAULT_WORKSPACE, role)
    assert (record.scopes, record.expires_at, record.revoked_at) == (frozenset({Scope.LINKS_READ}), expires, None)
    key = parse_key(text)
    assert key is not None
    assert matches(key, record, PEPPERS)


async def test_without_named_scopes_a_key_has_its_roles(database: Database, credentials: PostgresCredentials) -> None:
    _, key_id = await added(database, role=Role.EDITOR)
    record = await credentials.read_key(key_id)
    assert record is not None
    assert record.scopes == ROLE_SCOPES[Role.EDITOR]


async def test_keys_of_every_workspace_are_read(database: Database, credentials: PostgresCredentials) -> None:
    elsewhere = await add_workspace(database.url())
    _, key_id = await added(database, workspace_id=elsewhere)
    record = await credentials.read_key(key_id)
    assert record is not None
    assert record.workspace_id == elsewhere


@pytest.mark.parametrize("key_id", ["", "a" * 16, "' OR true --", "x" * 5000])
async def test_an_unknown_key_is_none(database: Database, credentials: PostgresCredentials, key_id: str) -> None:
    await added(database)
    assert await credentials.read_key(key_id) is None


async def test_revoked_and_expired_keys_are_read_as_such(
    database: Database, credentials: PostgresCredentials, owner: asyncpg.Connection
) -> None:
    _, revoked = await added(database)
    await owner.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", revoked)
    _, expired = await added(database, expires_at=datetime.now(UTC) - timedelta(hours=1))
    for key_id in (revoked, expired):
        record = await credentials.read_key(key_id)
        assert record is not None
        assert not record.counts(datetime.now(UTC))


async def test_what_a_newer_release_has_stored_gives_nobody_anything(
    database: Database, credentials: PostgresCredentials, owner: asyncpg.Connection
) -> None:
    _, key_id = await added(database, role=Role.VIEWER)
    await owner.execute("ALTER TABLE api_keys DROP CONSTRAINT api_keys_role_check")
    await owner.execute("ALTER TABLE members DROP CONSTRAINT members_role_check")
    await owner.execute("UPDATE api_keys SET scopes = '{links:eat}' WHERE id = $1", key_id)
    record = await credentials.read_key(key_id)
    assert record is not None
    assert record.scopes == frozenset(), "only scopes of a newer release: none, not all"
    await owner.execute("UPDATE api_keys SET role = 'admiral' WHERE id = $1", key_id)
    assert await credentials.read_key(key_id) is None
    await owner.execute("INSERT INTO members (workspace_id, subject, role) SELECT id, 'ada', 'admiral' FROM workspaces")
    assert await credentials.read_memberships("ada") == []


# People


async def test_memberships_are_of_all_workspaces_and_of_one_person(
    database: Database, credentials: PostgresCredentials, owner: asyncpg.Connection
) -> None:
    elsewhere = await add_workspace(database.url())
    await owner.executemany(
        "INSERT INTO members (workspace_id, subject, role) VALUES ($1, $2, $3)",
        [(DEFAULT_WORKSPACE, "ada", "owner"), (elsewhere, "ada", "viewer"), (elsewhere, "Ada", "editor")],
    )
    assert await credentials.read_memberships("ada") == [
        Membership(DEFAULT_WORKSPACE, Role.OWNER),
        Membership(elsewhere, Role.VIEWER),
    ]
    assert await credentials.read_memberships("nobody") == []


async def test_memberships_are_bounded(credentials: PostgresCredentials, owner: asyncpg.Connection) -> None:
    await owner.execute(
        "INSERT INTO workspaces (id, name) SELECT gen_random_uuid(), 'w' FROM generate_series(1, 1200);"
        "INSERT INTO members (workspace_id, subject, role) SELECT id, 'ada', 'viewer' FROM workspaces"
    )
    found = await credentials.read_memberships("ada")
    assert len(found) == 1000
    assert found == sorted(found, key=lambda one: one.workspace_id)


async def test_a_workspace_is_there_or_not(database: Database, credentials: PostgresCredentials) -> None:
    assert await credentials.workspace_exists(DEFAULT_WORKSPACE)
    assert await credentials.workspace_exists(await add_workspace(database.url()))
    assert not await credentials.workspace_exists(UUID(int=99))


# When keys were used


async def test_use_is_noted_of_these_keys_and_waits_for_nobody(
    database: Database, credentials: PostgresCredentials, owner: asyncpg.Connection
) -> None:
    keys = [(await added(database))[1] for _ in range(3)]
    async with owner.transaction():
        # Somebody is revoking one of them just now.
        await owner.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", keys[0])
        async with asyncio.timeout(20):
            await credentials.note_use([*keys[:2], "unknown-key-1234"])
    used = {row["id"]: row["last_used_at"] for row in await owner.fetch("SELECT id, last_used_at FROM api_keys")}
    assert used[keys[0]] is None
    assert used[keys[1]] is not None
    assert used[keys[2]] is None
    await credentials.note_use([])


async def test_a_store_that_is_away_is_said_so(tmp_path: object) -> None:
    async with Postgres(f"postgresql://waypost@/waypost?host={tmp_path}", connect_timeout=0.2) as pool:
        credentials = PostgresCredentials(pool)
        for call in (
            credentials.read_key("a"),
            credentials.read_memberships("a"),
            credentials.workspace_exists(DEFAULT_WORKSPACE),
            credentials.note_use(["a"]),
        ):
            with pytest.raises(DependencyUnavailable):
                await call


# The first operator key


async def test_the_first_operator_key_is_kept_once_with_a_line_in_the_log(
    database: Database, credentials: PostgresCredentials, owner: asyncpg.Connection
) -> None:
    key = new_key()
    assert not await has_operator_key(database.url())
    assert await keep_operator_key(database.url(), key, PEPPERS[0])
    assert await has_operator_key(database.url())
    assert not await keep_operator_key(database.url(), key, b"another" * 9), "its id is there"
    record = await credentials.read_key(key.key_id)
    assert record is not None
    assert (record.role, record.workspace_id, record.scopes) == (Role.OPERATOR, DEFAULT_WORKSPACE, frozenset(Scope))
    assert matches(key, record, PEPPERS)
    (line,) = await owner.fetch("SELECT * FROM audit_log")
    assert (line["principal"], line["action"], line["object"]) == ("system:up", "key.create", key.key_id)
    assert key.secret not in str(dict(line))
    stored = await owner.fetchval("SELECT api_keys::text FROM api_keys")
    assert key.secret not in stored
    assert digest_of(key, PEPPERS[0]).hex() in stored


async def test_only_an_operator_key_that_counts_is_one(database: Database, owner: asyncpg.Connection) -> None:
    await added(database, role=Role.OWNER)
    await added(database, role=Role.OPERATOR, expires_at=datetime.now(UTC) - timedelta(hours=1))
    await keep_operator_key(database.url(), new_key(), PEPPERS[0])
    await owner.execute("UPDATE api_keys SET revoked_at = now() WHERE role = 'operator'")
    assert not await has_operator_key(database.url())


async def test_a_key_that_was_revoked_is_not_brought_back(database: Database, owner: asyncpg.Connection) -> None:
    key = new_key()
    await keep_operator_key(database.url(), key, PEPPERS[0])
    await owner.execute("UPDATE api_keys SET revoked_at = now()")
    assert not await keep_operator_key(database.url(), key, PEPPERS[0])
    assert not await has_operator_key(database.url())


async def test_rivals_keep_one_key_once(database: Database, owner: asyncpg.Connection) -> None:
    key = new_key()
    kept = await asyncio.gather(*(keep_operator_key(database.url(), key, PEPPERS[0]) for _ in range(4)))
    assert sorted(kept) == [False, False, False, True]
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 1


async def test_an_owner_without_superuser_keeps_it_too() -> None:
    server: Server = temporary_server()
    try:
        make_or_skip(server, migrated=False)
        superuser = await asyncpg.connect(server.cluster.url())
        await superuser.execute("CREATE ROLE plain LOGIN CREATEROLE PASSWORD 'secret'")
        await superuser.execute("CREATE DATABASE plain OWNER plain")
        await superuser.close()
        url = f"postgresql://plain:secret@/plain?host={server.cluster.socket_dir}"
        await migrate(url)
        assert await keep_operator_key(url, new_key(), PEPPERS[0])
        assert await has_operator_key(url)
    finally:
        dispose(server)
