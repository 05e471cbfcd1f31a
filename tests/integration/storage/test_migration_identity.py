"""The step that brings row-level security: what was there stays, and is seen by whose it is and says so."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import asyncpg
import pytest

from tests.integration.storage.conftest import PUBLIC_URL
from tests.support.links import new_link, store
from tests.support.postgres import Database, Server, dispose, make_or_skip, temporary_server
from tests.support.two_workspaces import secured_tables
from waypost.adapters.migrate import Migration, migrate, migrations
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_redirects import PostgresRedirectReader
from waypost.model import DEFAULT_WORKSPACE

BEFORE = migrations()[:6]
IDENTITY = migrations()[6]
OTHER = UUID(int=2)

ROWS = f"""
INSERT INTO workspaces (id, name) VALUES ('{OTHER}', 'other');
INSERT INTO links (workspace_id, short_code, original_url, redirect_status, max_clicks, terms) VALUES
  ('{DEFAULT_WORKSPACE}', 'counted', 'https://example.org/a', 302, 5, '{{=counted}}'),
  ('{DEFAULT_WORKSPACE}', 'plain12', 'https://example.org/b', 302, NULL, '{{=plain12}}'),
  ('{OTHER}', 'theirs1', 'https://example.org/c', 302, 5, '{{=theirs1}}');
UPDATE click_budgets SET clicks_used = 3;
INSERT INTO link_terms (workspace_id, term, created_at, link_id)
SELECT workspace_id, unnest(terms), created_at, id FROM links;
INSERT INTO idempotency_keys (workspace_id, principal, method, key, fingerprint, answer)
VALUES ('{DEFAULT_WORKSPACE}', 'anonymous', 'CreateLink', 'k', sha256(''), 'answer');
INSERT INTO outbox (type, subject, version, workspace_id, dedupe_key, payload)
SELECT 'link_created', short_code, version, workspace_id, 'link/' || short_code || '/1', '' FROM links;
INSERT INTO job_runs (job, tick, finished_at, affected) VALUES ('expire_links', '2026-01-01', now(), 1);
"""  # noqa: S608 - made of constants


async def rows_of_all(connection: asyncpg.Connection) -> dict[str, list[str]]:
    """What every table has, in the columns of the release before."""
    tables = await connection.fetch(
        "SELECT table_name AS name, string_agg(column_name, ', ' ORDER BY ordinal_position) AS columns "
        "FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations' GROUP BY 1"
    )
    return {
        row["name"]: sorted(map(repr, await connection.fetch(f"SELECT {row['columns']} FROM {row['name']}")))  # noqa: S608
        for row in tables
    }


async def test_from_the_step_before_with_rows_in_every_table(postgres: Server) -> None:
    database = postgres.make_database(empty=True)
    await migrate(database.url(), steps=BEFORE)
    owner = await asyncpg.connect(database.url())
    try:
        await owner.execute(ROWS)
        before = await rows_of_all(owner)
        assert all(before.values()), "each table has rows"
        assert await migrate(database.url(), steps=[*BEFORE, IDENTITY]) == [IDENTITY.id]
        budgets = await owner.fetch(
            "SELECT short_code, b.workspace_id, clicks_used FROM click_budgets b JOIN links ON id = link_id"
        )
        assert sorted(tuple(row) for row in budgets) == [("counted", DEFAULT_WORKSPACE, 3), ("theirs1", OTHER, 3)]
        assert await owner.fetchval("SELECT count(*) FROM links WHERE blocked_reason <> ''") == 0
        await owner.execute("ALTER TABLE click_budgets DROP COLUMN workspace_id CASCADE")
        await owner.execute("ALTER TABLE links DROP COLUMN blocked_reason")
        after = await rows_of_all(owner)
        assert {table: after[table] for table in before} == before
        assert {table for table in after if table not in before} == {"members", "api_keys", "audit_log", "reports"}
    finally:
        await owner.close()


async def test_what_was_there_is_seen_by_whose_it_is_and_counts_on(postgres: Server) -> None:
    database = postgres.make_database(empty=True)
    await migrate(database.url(), steps=BEFORE)
    owner = await asyncpg.connect(database.url())
    try:
        await owner.execute(ROWS)
        await migrate(database.url())
    finally:
        await owner.close()
    async with Postgres(database.url("waypost_api")) as api, Postgres(database.url("waypost_redirect")) as redirect:
        storage = PostgresStorage(api, PUBLIC_URL)
        link = await storage.get_link(DEFAULT_WORKSPACE, "counted")
        assert link is not None
        assert (link.max_clicks, link.clicks_used) == (5, 3)
        assert await storage.get_link(DEFAULT_WORKSPACE, "theirs1") is None
        assert await storage.get_link(OTHER, "theirs1") is not None
        assert await PostgresRedirectReader(redirect).use_click("counted") is not None
        link = await storage.get_link(DEFAULT_WORKSPACE, "counted")
        assert link is not None
        assert link.clicks_used == 4


async def test_the_release_before_which_names_no_workspace_reads_nothing_and_makes_nothing_but_redirects(
    postgres: Server,
) -> None:
    """Its gateways are to be stopped before the step is applied, or their API finds no link any more."""
    database = postgres.make_database(empty=True)
    await migrate(database.url(), steps=BEFORE)
    owner = await asyncpg.connect(database.url())
    await owner.execute(ROWS)
    connections = [await asyncpg.connect(database.url(role)) for role in ("waypost_api", "waypost_redirect")]
    api, redirect = connections
    try:
        by_code = "SELECT original_url FROM links WHERE lower(short_code) = lower($1) AND short_code = $1"
        # Prepared before, as a pool that outlives the step has it.
        read = await api.prepare(by_code)
        assert await read.fetchval("plain12") == "https://example.org/b"
        await migrate(database.url())
        assert await read.fetchval("plain12") is None
        assert await api.fetch("SELECT id FROM links") == []
        assert await api.execute("UPDATE links SET deleted_at = now()") == "UPDATE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(
                "INSERT INTO links (workspace_id, short_code, original_url, redirect_status) "
                "VALUES ($1, 'another', 'https://example.org/', 302)",
                DEFAULT_WORKSPACE,
            )
        assert await redirect.fetchval(by_code, "plain12") == "https://example.org/b"
        assert await owner.fetchval("SELECT count(*) FROM links WHERE deleted_at IS NULL") == 3
    finally:
        for connection in (owner, *connections):
            await connection.close()


@pytest.fixture
def bare() -> Iterator[Server]:
    """A server that has no role of ours yet, as a managed one would."""
    server = temporary_server()
    try:
        make_or_skip(server, migrated=False)
        yield server
    finally:
        dispose(server)


async def make_owner(server: Server, name: str) -> str:
    """An owner as managed servers give one: no superuser, but one who may make roles. Returns the owner's URL."""
    connection = await asyncpg.connect(server.cluster.url())
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'secret'")
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    finally:
        await connection.close()
    return f"postgresql://{name}:secret@/{name}?host={server.cluster.socket_dir}"


async def test_an_owner_without_superuser_applies_it_and_is_held_to_it(bare: Server) -> None:
    url = await make_owner(bare, "held")
    await migrate(url, steps=BEFORE)
    owner = await asyncpg.connect(url)
    superuser = await asyncpg.connect(Database(bare.cluster, "held").url())
    try:
        await owner.execute(ROWS)
        before = await rows_of_all(superuser)
        assert await migrate(url) == [step.id for step in migrations()[6:]]
        assert await superuser.fetchval("SELECT count(*) FROM click_budgets WHERE workspace_id IS NULL") == 0
        assert len(before["links"]) == await superuser.fetchval("SELECT count(*) FROM links") == 3

        tables = await secured_tables(superuser)
        assert {"links", "members", "api_keys", "audit_log"} <= set(tables)
        inherits = superuser.get_server_version() < (16,)
        for workspace_id in ("", str(DEFAULT_WORKSPACE)):
            await owner.execute("SELECT set_config('waypost.workspace', $1, false)", workspace_id)
            # Before PostgreSQL 16, who may become a role that sees all workspaces sees them without becoming it.
            for table in ["link_terms"] * (not workspace_id) if inherits else tables:
                assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
        assert inherits or await owner.execute("UPDATE links SET title = 'x'") == "UPDATE 0"
        # A backup by this owner would not be empty without a word: pg_dump switches row_security off, and is refused.
        await owner.execute("SET row_security = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await owner.fetch("SELECT count(*) FROM links")
        for statement in ("UPDATE audit_log SET principal = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
            with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError)):
                await owner.execute(statement)
    finally:
        await owner.close()
        await superuser.close()


async def test_a_later_step_that_such_an_owner_cannot_see_the_rows_of_fails_instead_of_passing_them_over(
    bare: Server,
) -> None:
    url = await make_owner(bare, "later")
    await migrate(url)
    blind = "UPDATE links SET title = 'x'"
    number = len(migrations()) + 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await migrate(url, steps=[*migrations(), Migration(number, "blind", blind)])
    seeing = f"ALTER TABLE links NO FORCE ROW LEVEL SECURITY; {blind}; ALTER TABLE links FORCE ROW LEVEL SECURITY"
    assert await migrate(url, steps=[*migrations(), Migration(number, "seeing", seeing)]) == [f"{number:04}_seeing"]


async def test_the_database_of_such_an_owner_serves_every_job(bare: Server) -> None:
    url = await make_owner(bare, "serves")
    await migrate(url)
    async with Postgres(url, "waypost_api") as api, Postgres(url, "waypost_redirect") as redirect:
        storage = PostgresStorage(api, PUBLIC_URL)
        # Foreign keys are checked as the owner, whom no policy shows any workspace.
        link = await store(storage, new_link("counted", max_clicks=2), event=True)
        assert await storage.get_link(DEFAULT_WORKSPACE, "counted") == link
        assert await PostgresRedirectReader(redirect).use_click("counted") is not None
