"""The login roles: each can do its job and nothing else, none owns anything, and one URL may serve them all."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import asyncpg
import pytest

from tests.support.links import new_link, store
from tests.support.postgres import Database, Server, dispose, make_or_skip, run, temporary_server
from waypost.adapters.migrate import JOB_ROLES, migrate, migrations
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.roles import scram_verifier
from waypost.supervisor.postgres import OWNER


def columns(verb: str, names: str) -> set[str]:
    """The verb for each of these columns."""
    return {f"{verb}({name})" for name in names.split()}


EXPECTED = {
    ("waypost_api", "links"): {
        "SELECT",
        *columns(
            "INSERT",
            "workspace_id short_code original_url destination_flags redirect_status expires_at title tags max_clicks "
            "forward_query terms created_at updated_at",
        ),
        *columns(
            "UPDATE",
            "original_url destination_flags redirect_status expires_at title tags max_clicks forward_query terms "
            "deleted_at",
        ),
    },
    ("waypost_api", "outbox"): {"INSERT"},
    ("waypost_api", "click_budgets"): {"SELECT", *columns("INSERT", "link_id workspace_id")},
    ("waypost_api", "link_terms"): {"SELECT", "INSERT", "DELETE"},
    ("waypost_api", "idempotency_keys"): {"SELECT", "INSERT", "UPDATE"},
    ("waypost_api", "workspaces"): {*columns("SELECT", "id name created_at"), "UPDATE(name)"},
    ("waypost_api", "members"): {"SELECT", "INSERT", *columns("UPDATE", "role name"), "DELETE"},
    ("waypost_api", "api_keys"): {
        *columns("SELECT", "id workspace_id name role scopes created_by created_at expires_at last_used_at revoked_at"),
        *columns("INSERT", "id workspace_id name role scopes digest created_by expires_at"),
        "UPDATE(revoked_at)",
    },
    ("waypost_api", "audit_log"): {
        "SELECT",
        *columns("INSERT", "workspace_id principal address action object details correlation_id"),
    },
    ("waypost_redirect", "links"): columns(
        "SELECT",
        "short_code original_url redirect_status version blocked_at deleted_at expires_at id created_at max_clicks "
        "forward_query warned_at",
    ),
    ("waypost_redirect", "click_budgets"): {"SELECT", "UPDATE(clicks_used)"},
    ("waypost_redirect", "reports"): {"INSERT", *columns("SELECT", "link_id address created_at closed_at")},
    ("waypost_relay", "outbox"): {"SELECT", *columns("UPDATE", "claimed_until published_at")},
    ("waypost_sweeper", "links"): {"SELECT", "UPDATE(expired_at)"},
    ("waypost_sweeper", "outbox"): {"INSERT"},
    ("waypost_sweeper", "click_budgets"): {"SELECT"},
    ("waypost_sweeper", "idempotency_keys"): {
        *columns("SELECT", "workspace_id principal method key created_at"),
        "DELETE",
    },
    ("waypost_sweeper", "job_runs"): {"SELECT", "INSERT", "UPDATE", "DELETE"},
    ("waypost_identity", "workspaces"): {"SELECT"},
    ("waypost_identity", "members"): columns("SELECT", "workspace_id subject role"),
    ("waypost_identity", "api_keys"): {
        *columns("SELECT", "id workspace_id role scopes digest expires_at last_used_at revoked_at"),
        "UPDATE(last_used_at)",
    },
    ("waypost_operator", "workspaces"): {"SELECT", "INSERT"},
    ("waypost_operator", "members"): {"INSERT"},
    ("waypost_operator", "api_keys"): {*columns("SELECT", "id workspace_id role revoked_at expires_at"), "INSERT"},
    ("waypost_operator", "audit_log"): {
        "SELECT",
        *columns("INSERT", "workspace_id principal address action object details correlation_id"),
    },
    ("waypost_operator", "links"): {"SELECT", *columns("UPDATE", "blocked_at blocked_reason")},
    ("waypost_operator", "click_budgets"): {"SELECT"},
    ("waypost_operator", "reports"): {"SELECT", "UPDATE(closed_at)"},
    ("waypost_operator", "outbox"): {"INSERT"},
    ("waypost_limiter", "limit_overrides"): {
        "SELECT",
        *columns("INSERT", "id digest domain entries requests_per_unit unit burst reason expires_at created_by"),
        *columns("UPDATE", "requests_per_unit unit burst reason expires_at created_at created_by"),
        "DELETE",
    },
    ("waypost_limiter", "limit_override_changes"): {"SELECT", "UPDATE(number)"},
    ("waypost_limiter", "audit_log"): columns(
        "INSERT", "workspace_id principal address action object details correlation_id"
    ),
}
"""What each role may do with which table or column, and nothing else: a change here is a decision."""


async def test_grants_are_exactly_these(owner: asyncpg.Connection) -> None:
    rows = await owner.fetch(
        """
        SELECT grantee, table_name, privilege_type AS verb FROM information_schema.role_table_grants
        WHERE table_schema = 'public' AND grantee <> current_user
        UNION
        SELECT grantee, table_name, privilege_type || '(' || column_name || ')'
        FROM information_schema.role_column_grants AS c
        WHERE table_schema = 'public' AND grantee <> current_user AND NOT EXISTS (
          SELECT FROM information_schema.role_table_grants AS t
          WHERE (t.grantee, t.table_name, t.privilege_type) = (c.grantee, c.table_name, c.privilege_type)
        )
        """
    )
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        found.setdefault((row["grantee"], row["table_name"]), set()).add(row["verb"])
    assert found == EXPECTED


async def test_nothing_is_granted_beside_the_tables(owner: asyncpg.Connection) -> None:
    sequences = await owner.fetch(
        "SELECT c.relname, a.grantee::regrole FROM pg_class c, aclexplode(c.relacl) a "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S' AND a.grantee <> c.relowner"
    )
    functions = await owner.fetch(
        "SELECT p.proname FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a "
        "WHERE p.pronamespace = 'public'::regnamespace AND a.grantee <> p.proowner"
    )
    defaults = await owner.fetch("SELECT * FROM pg_default_acl")
    grantable = await owner.fetch(
        "SELECT grantee, table_name FROM information_schema.role_column_grants "
        "WHERE table_schema = 'public' AND grantee <> current_user AND is_grantable = 'YES'"
    )
    everybody = await owner.fetch(
        "SELECT table_name FROM information_schema.role_column_grants "
        "WHERE table_schema = 'public' AND grantee = 'PUBLIC'"
    )
    assert (sequences, functions, defaults, grantable, everybody) == ([], [], [], [], [])
    for role in JOB_ROLES:
        assert not await owner.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", role)


async def test_no_role_is_more_than_a_login(owner: asyncpg.Connection) -> None:
    rows = await owner.fetch("SELECT * FROM pg_roles WHERE rolname LIKE 'waypost\\_%'")
    assert sorted(row["rolname"] for row in rows) == sorted(JOB_ROLES)
    for row in rows:
        assert row["rolcanlogin"]
        powers = ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication", "rolinherit")
        assert not any(row[power] for power in powers), row["rolname"]
        assert {"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"} == {
            setting.partition("=")[0] for setting in row["rolconfig"]
        }
    owned = await owner.fetchval(
        "SELECT count(*) FROM pg_shdepend JOIN pg_roles ON pg_roles.oid = refobjid "
        "WHERE deptype = 'o' AND rolname LIKE 'waypost\\_%'"
    )
    assert owned == 0
    member = "SELECT count(*) FROM pg_auth_members WHERE member::regrole::text LIKE 'waypost\\_%'"
    assert await owner.fetchval(member) == 0


@pytest.fixture(scope="module")
def shared(postgres: Server) -> Database:
    """A database that no test changes."""
    return postgres.make_database()


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("waypost_api", "DELETE FROM links"),
        ("waypost_api", "TRUNCATE links"),
        ("waypost_api", "SELECT * FROM outbox"),
        ("waypost_api", "SELECT * FROM job_runs"),
        ("waypost_api", "UPDATE links SET blocked_at = NULL"),
        ("waypost_api", "UPDATE links SET blocked_reason = ''"),
        ("waypost_api", "UPDATE workspaces SET id = id"),
        ("waypost_api", "INSERT INTO workspaces (id, name) VALUES (gen_random_uuid(), 'mine')"),
        ("waypost_api", "SELECT digest FROM api_keys"),
        ("waypost_api", "UPDATE api_keys SET role = 'operator'"),
        ("waypost_api", "UPDATE api_keys SET expires_at = NULL"),
        ("waypost_api", "DELETE FROM api_keys"),
        ("waypost_api", "DELETE FROM audit_log"),
        ("waypost_api", "UPDATE audit_log SET principal = ''"),
        (
            "waypost_api",
            "INSERT INTO audit_log (occurred_at, workspace_id, principal, address, action, object, correlation_id) "
            "VALUES ('2001-01-01', gen_random_uuid(), 'x', '', 'x', '', '')",
        ),
        ("waypost_api", "SELECT * FROM reports"),
        ("waypost_api", "INSERT INTO click_budgets (link_id, clicks_used) VALUES (1, 0)"),
        ("waypost_redirect", "SELECT * FROM links"),
        ("waypost_redirect", "SELECT workspace_id FROM links"),
        ("waypost_redirect", "UPDATE links SET blocked_at = now()"),
        ("waypost_redirect", "SELECT title FROM links"),
        ("waypost_redirect", "INSERT INTO click_budgets (link_id) VALUES (1)"),
        ("waypost_redirect", "SELECT * FROM link_terms"),
        ("waypost_redirect", "SELECT * FROM idempotency_keys"),
        ("waypost_api", "UPDATE click_budgets SET clicks_used = 0"),
        ("waypost_api", "DELETE FROM idempotency_keys"),
        ("waypost_sweeper", "SELECT answer FROM idempotency_keys"),
        ("waypost_relay", "SELECT short_code FROM links"),
        ("waypost_relay", "UPDATE outbox SET payload = ''"),
        ("waypost_relay", "DELETE FROM outbox"),
        ("waypost_rollup", "SELECT short_code FROM links"),
        ("waypost_redirect", "SELECT comment FROM reports"),
        ("waypost_redirect", "SELECT * FROM members"),
        ("waypost_redirect", "SELECT * FROM api_keys"),
        ("waypost_redirect", "SELECT * FROM audit_log"),
        ("waypost_identity", "SELECT short_code FROM links"),
        ("waypost_identity", "SELECT name FROM members"),
        ("waypost_identity", "UPDATE api_keys SET revoked_at = NULL"),
        ("waypost_identity", "UPDATE api_keys SET digest = ''"),
        (
            "waypost_identity",
            "INSERT INTO members (workspace_id, subject, role) SELECT id, 'me', 'owner' FROM workspaces",
        ),
        ("waypost_identity", "SELECT * FROM audit_log"),
        ("waypost_operator", "SELECT digest FROM api_keys"),
        ("waypost_operator", "UPDATE api_keys SET revoked_at = NULL"),
        ("waypost_operator", "UPDATE members SET role = 'owner'"),
        ("waypost_operator", "SELECT subject FROM members"),
        ("waypost_operator", "UPDATE links SET original_url = ''"),
        ("waypost_operator", "UPDATE links SET deleted_at = now()"),
        ("waypost_operator", "DELETE FROM reports"),
        ("waypost_operator", "UPDATE reports SET comment = ''"),
        ("waypost_operator", "DELETE FROM audit_log"),
        ("waypost_operator", "UPDATE workspaces SET name = 'mine'"),
        ("waypost_limiter", "SELECT * FROM audit_log"),
        ("waypost_limiter", "SELECT short_code FROM links"),
        ("waypost_limiter", "SELECT * FROM api_keys"),
        ("waypost_limiter", "UPDATE limit_overrides SET domain = 'x'"),
        ("waypost_limiter", "TRUNCATE limit_overrides"),
        ("waypost_limiter", "DELETE FROM limit_override_changes"),
        (
            "waypost_limiter",
            "INSERT INTO audit_log (workspace_id, principal, address, action, object, correlation_id) "
            "VALUES (gen_random_uuid(), 'x', '', 'link.block', '', '')",
        ),
        ("waypost_operator", "SELECT * FROM limit_overrides"),
        ("waypost_api", "SELECT * FROM limit_overrides"),
        ("waypost_sweeper", "UPDATE links SET deleted_at = now()"),
        ("waypost_sweeper", "DELETE FROM links"),
        *((role, "CREATE TABLE public.mine (id int)") for role in JOB_ROLES),
        *((role, "ALTER TABLE links DISABLE TRIGGER ALL") for role in JOB_ROLES),
        *((role, "DELETE FROM schema_migrations") for role in JOB_ROLES),
        *((role, "ALTER TABLE links DISABLE ROW LEVEL SECURITY") for role in JOB_ROLES),
        *((role, "ALTER TABLE links NO FORCE ROW LEVEL SECURITY") for role in JOB_ROLES),
        *((role, "CREATE POLICY mine ON links USING (true)") for role in JOB_ROLES),
        *((role, "TRUNCATE audit_log") for role in JOB_ROLES),
        *((role, "SET session_replication_role = replica") for role in JOB_ROLES),
        *((role, f"SET ROLE {other}") for role in JOB_ROLES for other in (*JOB_ROLES, OWNER) if other != role),
    ],
)
async def test_a_role_cannot_do_what_is_not_its_job(shared: Database, role: str, statement: str) -> None:
    connection = await asyncpg.connect(shared.url(role))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_wrong_password_does_not_log_in(database: Database) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(database.url("waypost_api"), password="wrong")


def test_a_verifier_is_the_one_that_postgresql_makes(postgres: Server) -> None:
    async def theirs() -> str:
        connection = await asyncpg.connect(postgres.cluster.url())
        try:
            await connection.execute("CREATE ROLE verifier PASSWORD 'pa$$ word'")
            return str(await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'verifier'"))
        finally:
            await connection.execute("DROP ROLE verifier")
            await connection.close()

    stored = run(theirs())
    salt = base64.b64decode(stored.split("$")[1].partition(":")[2])
    assert scram_verifier("pa$$ word", salt) == stored
    with pytest.raises(ValueError, match="ASCII"):
        scram_verifier("gehörnt")


@pytest.fixture(scope="module")
def bare() -> Iterator[Server]:
    """A server that has no role of ours yet, as a managed one would."""
    server = temporary_server()
    try:
        make_or_skip(server, migrated=False)
        yield server
    finally:
        dispose(server)


async def test_one_url_of_an_owner_without_superuser_serves_all_jobs(bare: Server) -> None:
    url = await make_owner(bare, "first")
    assert len(await migrate(url)) == len(migrations())
    for role in JOB_ROLES:
        async with Postgres(url, role) as pool, pool.connection() as session:
            assert await session.fetchval("SELECT current_user") == role
    async with Postgres(url, "waypost_api") as pool:
        await store(PostgresStorage(pool, "https://way.example"), new_link(), event=True)
        async with pool.connection() as session:
            with pytest.raises(Exception, match="does not answer"):
                await session.execute("DELETE FROM links")
    # Another owner's database beside it finds the roles there and not its own.
    assert len(await migrate(await make_owner(bare, "second"))) == len(migrations())


async def make_owner(server: Server, name: str) -> str:
    connection = await asyncpg.connect(server.cluster.url())
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'secret'")
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    finally:
        await connection.close()
    return f"postgresql://{name}:secret@/{name}?host={server.cluster.socket_dir}"
