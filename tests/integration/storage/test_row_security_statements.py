"""Row-level security against statements of every shape: what others have makes no difference to what one can learn.

Each statement runs, as `waypost_api` in one workspace, against two databases: one has another workspace beside it, the
other has not. Answers and errors must be the same, and the other workspace afterwards what it was.
"""

# ruff: noqa: S608 - made-up statements are what this is about

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.postgres import Server
from tests.support.two_workspaces import HIDDEN, OURS, THEIRS, fill_both, fill_one

TEXTS = {
    "links": ("original_url", "title", "short_code"),
    "link_terms": ("term",),
    "click_budgets": ("clicks_used::text",),
    "idempotency_keys": ("principal", "key"),
    "members": ("subject", "name", "role"),
    "api_keys": ("id", "name", "created_by"),
    "audit_log": ("object", "correlation_id", "principal"),
    "workspaces": ("name",),
}
"""What the role may read, and columns of it that differ from workspace to workspace."""
CHANGEABLE = {
    "links": ("title",),
    "members": ("name",),
    "workspaces": ("name",),
    "idempotency_keys": ("principal", "workspace_id"),
}
REMOVABLE = ("link_terms", "members")
LOCKABLE = ("links", "members", "workspaces", "api_keys", "idempotency_keys")

SUSPICIOUS = f"LIKE '%{HIDDEN}%'"
LEAKS = (
    # Every one of them fails on a row of the other workspace, if it is ever asked about one.
    f"1 / (CASE WHEN {{text}} {SUSPICIOUS} THEN 0 ELSE 1 END) = 1",
    f"(CASE WHEN {{text}} {SUSPICIOUS} THEN 'x' ELSE '1' END)::integer = 1",
    f"length(repeat({{text}}, CASE WHEN {{text}} {SUSPICIOUS} THEN 1000000000 ELSE 1 END)) > 0",
    "1 / (CASE WHEN {text} = '7' THEN 0 ELSE 1 END) = 1",
    "pg_temp.tell({text})",
)
PLAIN = (
    "true",
    "{text} LIKE '%1%'",
    f"{{text}} {SUSPICIOUS}",
    f"{{owner}} = '{THEIRS}'",
    f"{{owner}} <> '{OURS}'",
    f"{{owner}} IN ('{OURS}', '{THEIRS}')",
    "{owner} IS NULL",
)

tables = st.sampled_from(sorted(TEXTS))


def owner_of(table: str, alias: str) -> str:
    return f"{alias}.{'id' if table == 'workspaces' else 'workspace_id'}"


@st.composite
def texts(draw: st.DrawFn, table: str, alias: str) -> str:
    """A text column of the table."""
    return f"{alias}.{draw(st.sampled_from(TEXTS[table]))}"


@st.composite
def conditions(draw: st.DrawFn, table: str, alias: str, depth: int = 2) -> str:
    """A condition on a row of the table, perhaps with others inside."""
    kind = draw(
        st.sampled_from(["leak", "plain", "not", "and", "or", "exists", "in", "compare"] if depth else ["leak"])
    )
    if kind in ("leak", "plain"):
        form = draw(st.sampled_from(LEAKS if kind == "leak" else PLAIN))
        return form.format(text=draw(texts(table, alias)), owner=owner_of(table, alias))
    if kind == "not":
        return f"NOT ({draw(conditions(table, alias, depth - 1))})"
    if kind in ("and", "or"):
        left, right = (draw(conditions(table, alias, depth - 1)) for _ in range(2))
        return f"(({left}) {kind} ({right}))"
    other, inner = draw(tables), f"{alias}{depth}"
    within = draw(conditions(other, inner, depth - 1))
    if kind == "exists":
        return f"EXISTS (SELECT FROM {other} {inner} WHERE {within})"
    text = draw(texts(other, inner))
    if kind == "in":
        return f"{draw(texts(table, alias))} IN (SELECT {text} FROM {other} {inner} WHERE {within})"
    return f"{draw(texts(table, alias))} <= (SELECT max({text}) FROM {other} {inner} WHERE {within})"


@st.composite
def joined(draw: st.DrawFn, first: str) -> tuple[str, str]:
    """What follows `FROM <first> a`, and the name of a second table under the alias b."""
    second = draw(tables)
    on = draw(conditions(second, "b", 1))
    match draw(st.sampled_from(["cross", "inner", "left", "right", "full", "lateral"])):
        case "cross":
            return f"CROSS JOIN {second} b", second
        case "full":
            return f"FULL JOIN {second} b ON {owner_of(first, 'a')} = {owner_of(second, 'b')}", second
        case "lateral":
            return f"CROSS JOIN LATERAL (SELECT b.* FROM {_readable(second)} b WHERE {on} LIMIT 3) b", second
        case kind:
            return f"{kind} JOIN {second} b ON {on}", second


def _readable(table: str) -> str:
    """The table, without a column that only others may read."""
    return "(SELECT id, workspace_id, name, role, created_by FROM api_keys)" if table == "api_keys" else table


@st.composite
def selects(draw: st.DrawFn) -> str:
    """A SELECT: joins, subqueries, windows, aggregates, common tables, locks."""
    first = draw(tables)
    join, second = draw(joined(first))
    one, two = draw(texts(first, "a")), draw(texts(second, "b"))
    where = draw(conditions(first, "a"))
    body = f"FROM {first} a {join} WHERE {where}"
    form = draw(st.sampled_from(["rows", "count", "window", "with", "union", "lock", "group", "scalar"]))
    materialized = draw(st.sampled_from(["MATERIALIZED", "NOT MATERIALIZED"]))
    if form == "lock":
        lockable = draw(st.sampled_from(LOCKABLE))
        return (
            f"SELECT {draw(texts(lockable, 'a'))} FROM {lockable} a "
            f"WHERE {draw(conditions(lockable, 'a'))} FOR NO KEY UPDATE"
        )
    return {
        "rows": f"SELECT {one}, {two} {body}",
        "count": f"SELECT count(*), count(DISTINCT {one}), max({two}) {body}",
        "window": f"SELECT {one}, count(*) OVER (PARTITION BY {two}) {body}",
        "with": f"WITH x AS {materialized} (SELECT {one} AS one, {two} AS two {body}) SELECT one, two FROM x",
        "union": f"SELECT {one} {body} UNION SELECT {two} {body}",
        "group": f"SELECT {two}, count(*), string_agg({one}, ',' ORDER BY {one}) {body} GROUP BY 1 HAVING count(*) > 1",
        "scalar": f"SELECT (SELECT count(*) {body}), (SELECT min({one}) {body})",
    }[form]


@st.composite
def updates(draw: st.DrawFn) -> str:
    """An UPDATE with values from anywhere."""
    table = draw(st.sampled_from(sorted(CHANGEABLE)))
    column = draw(st.sampled_from(CHANGEABLE[table]))
    other = draw(tables)
    if column == "workspace_id":
        value = draw(st.sampled_from([f"'{THEIRS}'", f"'{OURS}'", owner_of(other, "b")]))
    else:
        value = draw(st.sampled_from(["'new'", f"left(coalesce({draw(texts(other, 'b'))}, ''), 99)"]))
    where = draw(conditions(table, "a"))
    back = f"RETURNING {draw(texts(table, 'a'))}"
    if "b." not in value:
        return f"UPDATE {table} a SET {column} = {value} WHERE {where} {back}"
    # One row of the other table, so that it is certain which.
    source = f"(SELECT * FROM {_readable(other)} b WHERE {draw(conditions(other, 'b', 1))} ORDER BY 1, 2 LIMIT 1) b"
    return f"UPDATE {table} a SET {column} = {value} FROM {source} WHERE {where} {back}"


@st.composite
def deletes(draw: st.DrawFn) -> str:
    """A DELETE, perhaps by rows of another table."""
    table, other = draw(st.sampled_from(REMOVABLE)), draw(tables)
    using = draw(st.sampled_from(["", f"USING {other} b"]))
    more = f" AND {draw(conditions(other, 'b', 1))}" if using else ""
    back = f"RETURNING {draw(texts(table, 'a'))}"
    return f"DELETE FROM {table} a {using} WHERE {draw(conditions(table, 'a'))}{more} {back}"


@st.composite
def inserts(draw: st.DrawFn) -> str:
    """An INSERT, from another table, into either workspace."""
    other = draw(tables)
    owner = draw(st.sampled_from([f"'{OURS}'::uuid", f"'{THEIRS}'::uuid", owner_of(other, "b")]))
    text = f"left('-' || {draw(texts(other, 'b'))}, 60)"
    source = f"FROM {other} b WHERE {draw(conditions(other, 'b'))}"
    conflict = draw(st.sampled_from(["", "ON CONFLICT DO NOTHING"]))
    update = "ON CONFLICT (workspace_id, subject) DO UPDATE SET name = EXCLUDED.name"
    match draw(st.sampled_from(["members", "link_terms", "audit_log", "idempotency_keys", "theirs"])):
        case "members":
            return (
                "INSERT INTO members (workspace_id, subject, role, name) "
                f"SELECT DISTINCT {owner}, {text}, 'owner', 'x' {source} {draw(st.sampled_from([conflict, update]))} "
                "RETURNING subject, name"
            )
        case "link_terms":
            return (
                "INSERT INTO link_terms (workspace_id, term, created_at, link_id) SELECT DISTINCT "
                f"{owner}, '=' || {text}, '2026-01-01'::timestamptz, 1 {source} {conflict} RETURNING term"
            )
        case "audit_log":
            return (
                "INSERT INTO audit_log (workspace_id, principal, address, action, object, correlation_id) "
                f"SELECT {owner}, 'me', '', 'link.create', {text}, '' {source} RETURNING object"
            )
        case "idempotency_keys":
            return (
                "INSERT INTO idempotency_keys (workspace_id, principal, method, key, fingerprint) "
                f"SELECT DISTINCT {owner}, 'me', 'X', {text}, sha256('x') {source} {conflict} RETURNING key"
            )
    # What is there, and is not to be known to be there.
    row = f"('{THEIRS}', 'ada-{HIDDEN}', 'owner')"
    return f"INSERT INTO members (workspace_id, subject, role) VALUES {row} {conflict}"


@dataclass
class Answer:
    """What a statement said: its rows, in any order, or its error."""

    rows: list[str] | None
    error: tuple[str, str] | None


class Both:
    """The two databases, each with a connection as `waypost_api`."""

    def __init__(self, server: Server) -> None:
        self._runner = asyncio.Runner()
        self._shared, self._alone, self._theirs = self._runner.run(self._open(server))

    async def _open(self, server: Server) -> tuple[asyncpg.Connection, asyncpg.Connection, list[list[asyncpg.Record]]]:
        connections = []
        for fill in (fill_both, fill_one):
            database = server.make_database()
            owner = await asyncpg.connect(database.url())
            await fill(owner)
            await owner.close()
            connection = await asyncpg.connect(database.url("waypost_api"))
            await connection.execute(
                "CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN "
                f"IF $1 {SUSPICIOUS} THEN RAISE EXCEPTION 'told: %', $1; END IF; RETURN true; END $$"
            )
            connections.append(connection)
        shared, alone = connections
        async with shared.transaction():
            theirs = await _all_of_theirs(shared)
        assert all(theirs)
        return shared, alone, theirs

    def close(self) -> None:
        self._runner.run(self._shared.close())
        self._runner.run(self._alone.close())
        self._runner.close()

    def answers(self, statement: str, mode: str) -> tuple[Answer, Answer]:
        """What the statement says beside the other workspace, and without it."""

        async def ask() -> tuple[Answer, Answer]:
            return await self._ask(self._shared, statement, mode), await self._ask(self._alone, statement, mode)

        return self._runner.run(ask())

    async def _ask(self, connection: asyncpg.Connection, statement: str, mode: str) -> Answer:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"SET LOCAL waypost.workspace = '{OURS}'; SET LOCAL plan_cache_mode = {mode}")
            try:
                async with connection.transaction():
                    rows = await connection.fetch(statement)
            except asyncpg.PostgresError as error:
                answer = Answer(None, (error.sqlstate, str(error)))
            else:
                answer = Answer(sorted(map(repr, rows)), None)
            if connection is self._shared:
                assert await _all_of_theirs(connection) == self._theirs, "the other workspace is what it was"
            return answer
        finally:
            await transaction.rollback()


async def _all_of_theirs(connection: asyncpg.Connection) -> list[list[asyncpg.Record]]:
    await connection.execute(f"SET LOCAL waypost.workspace = '{THEIRS}'")
    return [
        await connection.fetch(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1")
        for table, columns in TEXTS.items()
    ]


@pytest.fixture(scope="module")
def both(postgres: Server) -> Iterator[Both]:
    found = Both(postgres)
    yield found
    found.close()


modes = st.sampled_from(["auto", "force_generic_plan", "force_custom_plan"])
many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

REFUSED = {"42501", "23505"}
"""A row that would be another workspace's; one that is there already."""


@pytest.mark.parametrize(
    "statements", [selects(), updates(), deletes(), inserts()], ids=["select", "update", "delete", "insert"]
)
def test_what_others_have_makes_no_difference(both: Both, statements: st.SearchStrategy[str]) -> None:
    errors: set[str] = set()
    found = 0

    @many
    @given(statement=statements, mode=modes)
    def check(statement: str, mode: str) -> None:
        nonlocal found
        shared, alone = both.answers(statement, mode)
        assert shared == alone
        assert HIDDEN not in str(shared)
        if shared.error is not None:
            errors.add(shared.error[0])
        elif shared.rows:
            found += 1

    check()
    assert errors <= REFUSED, "the statements that are made up are good ones"
    assert found > 20, "and find something"
