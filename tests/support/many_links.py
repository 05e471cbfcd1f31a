"""Links by the hundred thousand, as a busy installation has them, made inside of the database.

A million take about a minute. Terms are those that `waypost.search_terms.link_terms` gives for the same links.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

from waypost.model import DEFAULT_WORKSPACE

WORKSPACES = (DEFAULT_WORKSPACE, UUID(int=2), UUID(int=3))
"""Who they belong to: 90, 5 and 5 of a hundred."""

TAGS = 200
VOCABULARY = 5_000
"""How many tags and words there are. Both follow Zipf's law: the tenth is a tenth as frequent as the first."""

_SYLLABLES = "".join(first + second for first in "bdfgklmnprstv" for second in "aeiou")
# Crockford's digits; every other letter is a small one, so that codes differ in more than digits.
_CODE_DIGITS = "0123456789aBcDeFgHjKmNpQrStVwXyZ"
_STEP = 7_919

_LINKS = """
INSERT INTO links (
  id, workspace_id, short_code, original_url, redirect_status, version, title, tags, created_at, updated_at,
  deleted_at, blocked_at, warned_at, expires_at, expired_at, max_clicks, forward_query, terms
)
OVERRIDING SYSTEM VALUE
SELECT
  id, workspace_id, short_code, original_url, 302, 1, title, tags, created_at, updated_at,
  CASE WHEN fate < 0.05 THEN updated_at END,
  CASE WHEN fate >= 0.05 AND fate < 0.06 THEN updated_at END,
  CASE WHEN fate >= 0.06 AND fate < 0.07 THEN updated_at END,
  CASE WHEN fate >= 0.07 AND fate < 0.10 THEN over WHEN fate >= 0.10 AND fate < 0.30 THEN now() + random() * year END,
  -- The sweep has seen nearly all of those whose time is over.
  CASE WHEN fate >= 0.07 AND fate < 0.099 THEN over END,
  CASE WHEN fate >= 0.30 AND fate < 0.32 THEN 10 END,
  fate > 0.95,
  ARRAY(
    SELECT '#' || tag FROM unnest(tags) AS tag
    UNION ALL
    SELECT DISTINCT '=' || word
    FROM unnest(string_to_array(
      lower(short_code || ' ' || title || ' ')
        || translate(replace(substr(split_part(original_url, '?', 1), 9), 'www.', ''), './', '  '),
      ' '
    )) AS word
  )
FROM (
  SELECT
    $1 + n AS id,
    CASE
      WHEN n > $9 THEN ('00000000-0000-0000-0001-' || lpad(to_hex(n % $11), 12, '0'))::uuid
      WHEN n % 20 = 7 THEN $3::uuid
      WHEN n % 20 = 13 THEN $4::uuid
      ELSE $2::uuid
    END AS workspace_id,
    (
      -- Any odd factor gives each number a code of its own.
      SELECT string_agg(substr($5, (((($1 + n) * 2654435761) >> shift) & 31)::integer + 1, 1), '')
      FROM generate_series(0, 30, 5) AS shift
    ) AS short_code,
    'https://' || CASE WHEN n % 3 = 0 THEN 'www.' ELSE '' END || drawn.words[1] || '.example/' || drawn.words[2] || '/'
      || drawn.words[3] || n % 100 || '?id=' || n AS original_url,
    initcap(array_to_string(drawn.words[4:], ' ')) AS title,
    ARRAY(
      SELECT DISTINCT 'tag ' || floor(power($8::integer + 1, random())) FROM generate_series(1, n % 5)
    ) AS tags,
    made.at AS created_at,
    CASE WHEN n % 10 < 7 THEN made.at ELSE made.at + random() * (now() - made.at) END AS updated_at,
    -- Also for a test whose time of day is that of its collection.
    least(made.at + interval '30 days', now() - interval '1 day') AS over,
    interval '365 days' AS year,
    random() AS fate
  FROM
    -- The crowd's come last, so that all others are the same without them.
    generate_series(1, $9::bigint + CASE WHEN $11::bigint > 0 THEN $9::bigint / 20 ELSE 0 END) AS n,
    -- Two years, evenly; one thousand of ten came in one batch and have the same time.
    LATERAL (SELECT (n - 1) % $9 + 1 - CASE WHEN n / 1000 % 10 = 3 THEN n % 1000 ELSE 0 END AS place) AS batch,
    LATERAL (SELECT now() - interval '730 days' * (1 - batch.place::float8 / $9) AS at) AS made,
    LATERAL (
      SELECT ARRAY(
        SELECT substr($6, key / 4225 * 2 + 1, 2) || substr($6, key / 65 % 65 * 2 + 1, 2)
          || substr($6, key % 65 * 2 + 1, 2)
        FROM (
          SELECT floor(power($10::integer + 1, random()))::integer * $7::integer % 274625 AS key
          FROM generate_series(1, 6 + n % 4)
        ) AS keys
      ) AS words
    ) AS drawn
) AS link
"""

_BUDGETS = """
INSERT INTO click_budgets (link_id, workspace_id, clicks_used)
SELECT id, workspace_id, CASE WHEN id % 5 = 0 THEN 10 ELSE id % 10 END
FROM links
WHERE id > $1 AND max_clicks IS NOT NULL
"""

_TERMS = """
INSERT INTO link_terms (workspace_id, term, created_at, link_id)
SELECT workspace_id, unnest(terms), created_at, id FROM links WHERE id > $1
"""

_KEYS = """
SELECT conrelid::regclass AS of, conname AS name, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE conrelid = ANY ($1::text[]::regclass[]) AND contype IN ('p', 'u')
   OR confrelid = ANY ($1::text[]::regclass[]) AND contype = 'f'
ORDER BY contype = 'f'
"""

_INDEXES = """
SELECT indexrelid::regclass AS name, pg_get_indexdef(indexrelid) AS definition
FROM pg_index
WHERE indrelid = ANY ($1::text[]::regclass[]) AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
"""


def word(rank: int) -> str:
    """The word of this rank, from 1, of titles, hosts and paths."""
    key = rank * _STEP % 65**3
    return "".join(_SYLLABLES[2 * place : 2 * place + 2] for place in (key // 65**2, key // 65 % 65, key % 65))


def tag(rank: int) -> str:
    """The tag of this rank, from 1; a link has up to four."""
    return f"tag {rank}"


def small_workspace(number: int) -> UUID:
    """One of the crowd, from 0."""
    return UUID(int=(1 << 48) + number)


async def fill(connection: asyncpg.Connection, count: int, crowd: int = 0) -> None:
    """Adds `count` links, and for each 20 of them one to a `crowd` of so many small workspaces.

    `connection` is a superuser's; indexes are taken away while it works, and statistics made.

    5 of 100 are deleted, 3 expired, 1 blocked, 1 warned of, 20 will expire, 2 have a number of clicks, of which a fifth
    have used them up. The same count gives the same links but for their times, the newest of which is now.
    """
    settings = {
        "maintenance_work_mem": "512MB",
        "jit": "off",
        "session_replication_role": "replica",  # no triggers, and no look at other tables for each row
        "max_parallel_workers_per_gather": "0",  # whose random numbers would not be the same again
    }
    async with connection.transaction():
        for name, value in settings.items():
            await connection.execute(f"SET LOCAL {name} = '{value}'")
        await connection.execute("SELECT setseed(0.25)")
        first = await connection.fetchval("SELECT coalesce(max(id), 0) FROM links")
        await connection.executemany(
            "INSERT INTO workspaces (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            [
                (workspace, f"workspace {workspace.int}")
                for workspace in (*WORKSPACES, *map(small_workspace, range(crowd)))
            ],
        )
        again = await _without_indexes(connection, "links", "link_terms")
        numbers = (_STEP, TAGS, count, VOCABULARY, crowd)
        await connection.execute(_LINKS, first, *WORKSPACES, _CODE_DIGITS, _SYLLABLES, *numbers, timeout=600)
        await connection.execute(_BUDGETS, first, timeout=60)
        await connection.execute(_TERMS, first, timeout=600)
        await connection.execute("SELECT setval(pg_get_serial_sequence('links', 'id'), (SELECT max(id) FROM links))")
        for statement in again:
            await connection.execute(statement, timeout=600)
    await connection.execute("VACUUM (ANALYZE) links, link_terms, click_budgets", timeout=600)


async def _without_indexes(connection: asyncpg.Connection, *tables: str) -> list[str]:
    """Drops the tables' indexes, which are made faster when all rows are there; returns what makes them again."""
    keys = await connection.fetch(_KEYS, list(tables))
    indexes = await connection.fetch(_INDEXES, list(tables))
    for key in reversed(keys):
        await connection.execute(f'ALTER TABLE {key["of"]} DROP CONSTRAINT "{key["name"]}"')
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    return [
        *(index["definition"] for index in indexes),
        *(f'ALTER TABLE {key["of"]} ADD CONSTRAINT "{key["name"]}" {key["definition"]}' for key in keys),
    ]
