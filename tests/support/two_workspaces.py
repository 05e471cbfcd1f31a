"""Two workspaces with rows in every table, to tell whether either sees anything of the other's."""

from __future__ import annotations

from uuid import UUID

import asyncpg

OURS = UUID(int=0xA)
THEIRS = UUID(int=0xB)
HIDDEN = "hidden"
"""Stands in every text of `THEIRS` that may hold it, and in no text of `OURS`."""

_ROWS = """
INSERT INTO workspaces (id, name) VALUES ('{id}', '{mark} workspace');
INSERT INTO members (workspace_id, subject, role, name) VALUES
  ('{id}', 'ada-{mark}', 'owner', '{mark} name'), ('{id}', 'bob-{mark}', 'viewer', '');
INSERT INTO api_keys (id, workspace_id, name, role, scopes, digest, created_by)
SELECT '{mark}' || lpad(n::text, 10, '0'), '{id}', '{mark} key', 'editor', '{{links:read}}',
       sha256('{mark}'::bytea || n::text::bytea), 'user:{mark}'
FROM generate_series(1, 3) AS n;
INSERT INTO links (workspace_id, short_code, original_url, redirect_status, title, tags, max_clicks, terms)
SELECT '{id}', '{mark}-' || n, 'https://{mark}.example/' || n, 302, '{mark} title', '{{{mark}}}', nullif(n % 3, 0),
       '{{#{mark},={mark}}}'
FROM generate_series(1, 20) AS n;
INSERT INTO link_terms (workspace_id, term, created_at, link_id)
SELECT workspace_id, unnest(terms), created_at, id FROM links WHERE workspace_id = '{id}';
UPDATE click_budgets SET clicks_used = {used} WHERE workspace_id = '{id}';
INSERT INTO idempotency_keys (workspace_id, principal, method, key, fingerprint, answer)
SELECT '{id}', 'user:{mark}', 'CreateLink', '{mark}-' || n, sha256('{mark}'), '{mark}' FROM generate_series(1, 3) AS n;
INSERT INTO outbox (type, subject, version, workspace_id, dedupe_key, payload)
SELECT 'link_created', short_code, version, workspace_id, 'link/' || short_code || '/1', '{mark}'
FROM links WHERE workspace_id = '{id}';
INSERT INTO audit_log (workspace_id, principal, address, action, object, details, correlation_id)
SELECT workspace_id, 'user:{mark}', '192.0.2.7', 'link.create', short_code, '{{"url": "{mark}"}}', '{mark}'
FROM links WHERE workspace_id = '{id}';
INSERT INTO reports (id, link_id, category, comment, contact, address)
SELECT gen_random_uuid(), id, 'spam', '{mark}', '', '192.0.2.7' FROM links WHERE workspace_id = '{id}';
"""


async def fill_both(connection: asyncpg.Connection) -> None:
    """Gives both workspaces rows in every table. `connection` is a superuser's."""
    await fill_one(connection)
    await connection.execute(_ROWS.format(id=THEIRS, mark=HIDDEN, used=7))
    await connection.execute("ANALYZE")


async def fill_one(connection: asyncpg.Connection) -> None:
    """Gives `OURS` the rows that `fill_both` gives it, and nobody else any."""
    await connection.execute(_ROWS.format(id=OURS, mark="public", used=1))
    await connection.execute("ANALYZE")


async def secured_tables(connection: asyncpg.Connection) -> list[str]:
    """The tables that hold rows of workspaces: those with row-level security, forced."""
    return [
        row["relname"]
        for row in await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
            "AND relrowsecurity AND relforcerowsecurity ORDER BY relname"
        )
    ]


def whose(table: str) -> str:
    """An expression for the workspace of a row of the table."""
    match table:
        case "workspaces":
            return "workspaces.id"
        case "reports":
            return "(SELECT links.workspace_id FROM links WHERE links.id = reports.link_id)"
        case _:
            return f"{table}.workspace_id"


async def rows_of(connection: asyncpg.Connection, workspace_id: UUID) -> dict[str, str]:
    """A digest of the workspace's rows in each table, as a superuser sees them; "" where there is none."""
    return {
        table: await connection.fetchval(
            f"SELECT coalesce(md5(string_agg({table}::text, '' ORDER BY {table}::text)), '') "  # noqa: S608
            f"FROM {table} WHERE {whose(table)} = $1",
            workspace_id,
        )
        for table in await secured_tables(connection)
    }
