"""Row-level security: what holds calls to their workspace, wherever the setting comes from and however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from tests.support.postgres import Database
from tests.support.two_workspaces import HIDDEN, OURS, THEIRS, fill_both, rows_of, secured_tables
from tests.support.waiting import until
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_workspace import begin_in, reading_in
from waypost.adapters.roles import JOB_ROLES
from waypost.errors import DependencyUnavailable

NOT_SECURED = {
    "schema_migrations": "which steps the schema has; nobody's but the owner's, who alone sees it",
    "job_runs": "the book of scheduled jobs: the mesh's own, of no workspace; the sweeper alone sees it",
    "limit_overrides": "overrides of rate limits: the mesh's own, of no workspace; the rate limiter alone sees them",
    "limit_override_changes": "how often those were changed; the rate limiter alone sees it",
}
OWN = "(workspace_id = (NULLIF(current_setting('waypost.workspace'::text, true), ''::text))::uuid)"
EVERY = {
    "links": {"waypost_redirect", "waypost_sweeper", "waypost_operator"},
    "click_budgets": {"waypost_redirect", "waypost_sweeper", "waypost_operator"},
    "idempotency_keys": {"waypost_sweeper"},
    "outbox": {"waypost_relay", "waypost_sweeper", "waypost_operator"},
    "workspaces": {"waypost_identity", "waypost_operator"},
    "members": {"waypost_identity", "waypost_operator"},
    "api_keys": {"waypost_identity", "waypost_operator"},
    "audit_log": {"waypost_operator"},
    "reports": {"waypost_redirect", "waypost_operator"},
}
"""Which roles see the rows of all workspaces; what they may do with them is in their grants."""
CHANGING = (
    "UPDATE links SET title = 'x'",
    "UPDATE members SET role = 'owner'",
    "UPDATE api_keys SET revoked_at = now()",
    "UPDATE workspaces SET name = 'x'",
    "UPDATE idempotency_keys SET answer = 'x'",
    "DELETE FROM members",
    "DELETE FROM link_terms",
)
ADDING = (
    "INSERT INTO links (workspace_id, short_code, original_url, redirect_status) VALUES (OURS, 'new', 'x', 302)",
    "INSERT INTO link_terms (workspace_id, term, created_at, link_id) VALUES (OURS, '=x', now(), 1)",
    "INSERT INTO members (workspace_id, subject, role) VALUES (OURS, 'x', 'owner')",
    "INSERT INTO api_keys (id, workspace_id, name, role, digest, created_by) "
    "VALUES ('aaaaaaaaaaaaaaaa', OURS, 'x', 'owner', sha256(''), '')",
    "INSERT INTO audit_log (workspace_id, principal, address, action, object, correlation_id) "
    "VALUES (OURS, 'x', '', 'x', '', '')",
    "INSERT INTO outbox (type, subject, version, workspace_id, dedupe_key, payload) VALUES ('x', '', 1, OURS, '', '')",
    "INSERT INTO idempotency_keys (workspace_id, principal, method, key, fingerprint) "
    "VALUES (OURS, 'x', '', 'x', sha256(''))",
    "INSERT INTO click_budgets (link_id, workspace_id) SELECT 1, OURS",
)
SETTING = "SELECT current_setting('waypost.workspace', true)"


@pytest.fixture
async def seen(database: Database, owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A connection as `waypost_api` to a database with two workspaces."""
    await fill_both(owner)
    connection = await asyncpg.connect(database.url("waypost_api"))
    yield connection
    await connection.close()


async def readable(connection: asyncpg.Connection, owner: asyncpg.Connection) -> list[str]:
    """The tables with rows of workspaces that the connection's role may read."""
    return [
        table
        for table in await secured_tables(owner)
        if await connection.fetchval("SELECT has_any_column_privilege($1, 'SELECT')", table)
    ]


async def counts(connection: asyncpg.Connection, tables: list[str]) -> set[int]:
    return {await connection.fetchval(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608


# What the catalog says


async def test_every_table_is_secured_or_named_here(owner: asyncpg.Connection) -> None:
    rows = await owner.fetch(
        "SELECT relname, relkind FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 'S')"
    )
    assert {row["relkind"] for row in rows} == {b"r"}, "a view or a foreign table would need a proof of its own"
    assert {row["relname"] for row in rows} - set(await secured_tables(owner)) == set(NOT_SECURED)
    await fill_both(owner)
    for workspace_id in (OURS, THEIRS):
        empty = [table for table, digest in (await rows_of(owner, workspace_id)).items() if not digest]
        assert empty == [], "the tests below would prove nothing"


async def test_policies_are_exactly_these(owner: asyncpg.Connection) -> None:
    rows = await owner.fetch("SELECT * FROM pg_policies")
    found = {(row["tablename"], row["policyname"]): row for row in rows}
    own = {table for table in await secured_tables(owner) if table != "reports"}
    assert set(found) == {
        *((table, "own") for table in own),
        *((table, "every") for table in EVERY),
        ("click_budgets", "own_link"),
        ("audit_log", "overrides"),
    }
    for table in own:
        row = found[table, "own"]
        condition = OWN.replace("workspace_id", "id") if table == "workspaces" else OWN
        assert (row["roles"], row["cmd"], row["permissive"]) == (["waypost_api"], "ALL", "PERMISSIVE")
        assert (row["qual"], row["with_check"]) == (condition, condition)
    for table, roles in EVERY.items():
        assert set(found[table, "every"]["roles"]) == roles
        assert "waypost_api" not in roles
    row = found["audit_log", "overrides"]
    assert (row["roles"], row["cmd"], row["permissive"]) == (["waypost_limiter"], "INSERT", "PERMISSIVE")
    assert (row["qual"], row["with_check"]) == (
        None,
        "((action ~~ 'override.%'::text) OR (action = 'limit.reset'::text))",
    )
    row = found["click_budgets", "own_link"]
    assert (row["roles"], row["cmd"], row["permissive"]) == (["waypost_api"], "INSERT", "RESTRICTIVE")


async def test_no_function_runs_as_somebody_else_or_finds_what_a_caller_put_in_its_way(
    owner: asyncpg.Connection,
) -> None:
    rows = await owner.fetch(
        "SELECT proname, prosecdef, proleakproof, proconfig FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    assert rows
    for row in rows:
        assert not row["prosecdef"], row["proname"]
        assert not row["proleakproof"], row["proname"]
        assert [one.partition("=")[0] for one in row["proconfig"] or []] == ["search_path"], row["proname"]


async def test_no_rewrite_rule_leads_elsewhere(owner: asyncpg.Connection) -> None:
    rules = await owner.fetch("SELECT * FROM pg_rules WHERE schemaname = 'public'")
    assert rules == []


# The setting


@pytest.mark.parametrize("setting", [None, "", "00000000-0000-0000-0000-000000000000"])
async def test_without_a_workspace_there_is_nothing_and_nothing_can_be_added(
    seen: asyncpg.Connection, owner: asyncpg.Connection, setting: str | None
) -> None:
    before = {workspace: await rows_of(owner, workspace) for workspace in (OURS, THEIRS)}
    if setting is not None:
        await seen.execute("SELECT set_config('waypost.workspace', $1, false)", setting)
    assert await counts(seen, await readable(seen, owner)) == {0}
    for statement in CHANGING:
        assert (await seen.execute(statement)).endswith(" 0"), statement
    for statement in ADDING:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await seen.execute(statement.replace("OURS", f"'{OURS}'"))
    assert {workspace: await rows_of(owner, workspace) for workspace in (OURS, THEIRS)} == before


@pytest.mark.parametrize("setting", ["x", "{}", "00000000-0000-0000-0000-00000000000", "' OR true --"])
async def test_a_setting_that_is_no_workspace_is_an_error(
    seen: asyncpg.Connection, owner: asyncpg.Connection, setting: str
) -> None:
    await seen.execute("SELECT set_config('waypost.workspace', $1, false)", setting)
    for table in await readable(seen, owner):
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await seen.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608


async def test_each_workspace_sees_its_own(seen: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    for workspace_id, mark in ((OURS, "public"), (THEIRS, HIDDEN)):
        async with seen.transaction():
            await seen.execute(f"SET LOCAL waypost.workspace = '{workspace_id}'")
            for table in await readable(seen, owner):
                expected = await owner.fetchval(
                    f"SELECT count(*) FROM {table} WHERE {'id' if table == 'workspaces' else 'workspace_id'} = $1",  # noqa: S608
                    workspace_id,
                )
                assert await seen.fetchval(f"SELECT count(*) FROM {table}") == expected > 0  # noqa: S608
            assert {row["title"] for row in await seen.fetch("SELECT title FROM links")} == {f"{mark} title"}


async def test_a_setting_of_a_savepoint_goes_with_it(seen: asyncpg.Connection) -> None:
    titles = "SELECT DISTINCT title FROM links"
    async with seen.transaction():
        await seen.execute(f"SET LOCAL waypost.workspace = '{OURS}'; SAVEPOINT one")
        await seen.execute(f"SET LOCAL waypost.workspace = '{THEIRS}'")
        assert await seen.fetchval(titles) == f"{HIDDEN} title"
        await seen.execute("ROLLBACK TO one")
        assert await seen.fetchval(titles) == "public title"
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with seen.transaction():
                await seen.execute(f"SET LOCAL waypost.workspace = '{THEIRS}'")
                await seen.execute("SELECT 1/0")
        assert await seen.fetchval(titles) == "public title"
    assert await seen.fetchval(titles) is None


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
async def test_the_setting_ends_with_the_transaction(seen: asyncpg.Connection, end: str) -> None:
    await seen.execute(begin_in(OURS))
    assert await seen.fetchval("SELECT count(*) FROM links") > 0
    await seen.execute(end)
    assert await seen.fetchval(SETTING) == ""
    assert await seen.fetchval("SELECT count(*) FROM links") == 0


async def test_whatever_a_call_came_to_the_next_one_sees_nothing_of_it(
    database: Database, owner: asyncpg.Connection
) -> None:
    await fill_both(owner)

    async def good(pool: Postgres) -> None:
        async with reading_in(pool, OURS) as session:
            assert await session.fetchval("SELECT count(*) FROM links") > 0

    async def failed(pool: Postgres) -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with reading_in(pool, OURS) as session:
                await session.fetchval("SELECT 1/0")

    async def failed_writing(pool: Postgres) -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with PostgresStorage(pool, "").unit_of_work(OURS) as work:
                await work._session.execute("SELECT 1/0")

    async def left(pool: Postgres) -> None:
        with pytest.raises(ZeroDivisionError):
            async with PostgresStorage(pool, "").unit_of_work(OURS):
                raise ZeroDivisionError

    async def too_slow(pool: Postgres) -> None:
        with pytest.raises(DependencyUnavailable):
            async with reading_in(pool, OURS) as session:
                await session.execute("SELECT pg_sleep(30)")

    async def cancelled(pool: Postgres) -> None:
        began = asyncio.Event()

        async def slow() -> None:
            async with reading_in(pool, OURS) as session:
                began.set()
                await session.execute("SELECT pg_sleep(30)")

        task = asyncio.create_task(slow())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def killed(pool: Postgres) -> None:
        with pytest.raises(DependencyUnavailable):
            async with reading_in(pool, OURS) as session:
                await owner.fetchval("SELECT pg_cancel_backend($1)", await session.fetchval("SELECT pg_backend_pid()"))
                await session.execute("SELECT pg_sleep(30)")

    async with Postgres(database.url("waypost_api"), max_size=1, command_timeout=1) as pool:
        for way in (good, failed, failed_writing, left, too_slow, cancelled, killed):
            await way(pool)
            await until(lambda: pool.in_use == 0)
            async with pool.connection() as session:
                assert await session.fetchval(SETTING) in (None, ""), way.__name__
                assert await session.fetchval("SELECT count(*) FROM links") == 0, way.__name__


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
async def test_a_statement_that_was_planned_in_one_workspace_sees_another_as_it_is(
    seen: asyncpg.Connection, mode: str
) -> None:
    await seen.execute(f"SET plan_cache_mode = {mode}")
    # Also before any workspace was set, when it saw nothing.
    titles = await seen.prepare("SELECT DISTINCT title FROM links WHERE redirect_status = $1")
    for workspace_id, mark in [(OURS, "public"), (THEIRS, HIDDEN), (UUID(int=9), None)] * 7:
        async with seen.transaction():
            await seen.execute(f"SET LOCAL waypost.workspace = '{workspace_id}'")
            assert await titles.fetchval(302) == (mark and f"{mark} title")
        assert await titles.fetchval(302) is None


# Ways around


async def test_a_transaction_that_only_reads_stays_one(seen: asyncpg.Connection) -> None:
    await seen.execute(begin_in(OURS, "READ ONLY"))
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await seen.execute("UPDATE links SET title = 'x'")
    await seen.execute("ROLLBACK")


async def test_switching_row_security_off_shows_nothing(seen: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    await seen.execute("SET row_security = off")
    for table in await readable(seen, owner):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await seen.fetch(f"SELECT count(*) FROM {table}")  # noqa: S608


async def test_statistics_tell_nothing_of_rows(seen: asyncpg.Connection) -> None:
    assert await seen.fetch("SELECT tablename FROM pg_stats WHERE schemaname = 'public'") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await seen.fetch("SELECT starelid FROM pg_statistic")


async def test_copies_hold_own_rows_only(seen: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    async with seen.transaction():
        await seen.execute(f"SET LOCAL waypost.workspace = '{OURS}'")
        for table in ("links", "members", "audit_log", "idempotency_keys", "link_terms"):
            parts: list[bytes] = []

            async def keep(data: bytes, parts: list[bytes] = parts) -> None:
                parts.append(data)

            await seen.copy_from_table(table, output=keep)
            assert b"public" in b"".join(parts)
            assert HIDDEN.encode() not in b"".join(parts)
    with pytest.raises(asyncpg.PostgresError):  # COPY FROM is refused where row-level security is in force
        await seen.copy_records_to_table(
            "members", records=[(THEIRS, "me", "owner")], columns=["workspace_id", "subject", "role"]
        )


async def test_a_function_of_the_callers_own_sees_no_row_of_others(seen: asyncpg.Connection) -> None:
    told: list[str] = []
    seen.add_log_listener(lambda _, message: told.append(str(message)))
    # As cheap as can be, so that the planner would like to ask it first.
    await seen.execute(
        "CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS "
        "$$ BEGIN RAISE NOTICE 'told: %', $1; RETURN true; END $$"
    )
    async with seen.transaction():
        await seen.execute(f"SET LOCAL waypost.workspace = '{OURS}'")
        await seen.fetch("SELECT id FROM links WHERE pg_temp.tell(original_url)")
        await seen.fetch("SELECT 1 FROM members JOIN audit_log ON pg_temp.tell(members.subject || audit_log.object)")
        await seen.fetch("UPDATE links SET title = title WHERE pg_temp.tell(short_code) RETURNING id")
        await seen.fetch("DELETE FROM link_terms WHERE pg_temp.tell(term) RETURNING link_id")
    assert any("public" in line for line in told)
    assert not any(HIDDEN in line for line in told)


@pytest.mark.parametrize("role", JOB_ROLES)
async def test_nobody_becomes_another_role(database: Database, owner: asyncpg.Connection, role: str) -> None:
    connection = await asyncpg.connect(database.url(role))
    try:
        for other in {*JOB_ROLES, await owner.fetchval("SELECT current_user"), "pg_read_all_data"} - {role}:
            for statement in (f"SET ROLE {other}", f"SET SESSION AUTHORIZATION {other}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_budget_of_anothers_link_cannot_be_taken(seen: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    theirs = await owner.fetchval("SELECT id FROM links WHERE workspace_id = $1 AND max_clicks IS NULL", THEIRS)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with seen.transaction():
            await seen.execute(f"SET LOCAL waypost.workspace = '{OURS}'")
            await seen.execute("INSERT INTO click_budgets (link_id, workspace_id) VALUES ($1, $2)", theirs, OURS)


# The audit log


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET principal = 'nobody'",
        "UPDATE audit_log SET details = '{}' WHERE false",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE false",
        "TRUNCATE audit_log",
        "TRUNCATE audit_log, reports CASCADE",
        "TRUNCATE workspaces CASCADE",
        "INSERT INTO audit_log (id, workspace_id, principal, address, action, object, correlation_id) "
        "OVERRIDING SYSTEM VALUE SELECT id, workspace_id, 'x', '', 'x', '', '' FROM audit_log LIMIT 1 "
        "ON CONFLICT (id) DO UPDATE SET principal = 'nobody'",
    ],
)
async def test_the_audit_log_is_only_ever_added_to_also_by_its_owner(owner: asyncpg.Connection, statement: str) -> None:
    await fill_both(owner)
    before = await owner.fetch("SELECT * FROM audit_log")
    if "workspaces" in statement:
        # Nothing leads from another table to the log; what empties all the others leaves it.
        await owner.execute(statement)
    else:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="only ever added to"):
            await owner.execute(statement)
    assert await owner.fetch("SELECT * FROM audit_log") == before
