"""How PostgreSQL reads lists of links: by indexes, and no more for a million links than it may for any."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from tests.support.list_filters import FILTERS, NOW, ORDERS
from tests.support.many_links import WORKSPACES, fill, small_workspace
from tests.support.postgres import Database, Server, run
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_session import session_settings
from waypost.adapters.postgres_workspace import begin_in
from waypost.adapters.queries import QUERIES
from waypost.listing import Cursor, ListQuery, Order, OrderField

CROWD = 3_000
"""Small workspaces beside the large one."""

ONE_LINK_BUFFERS = 400
"""For one link; a change writes it to each of its indexes."""

MAX_BUFFERS = 60_000
"""Pages of 8 KiB, nearly all of them the same few thousand again and again, for one statement."""

USUAL_BUFFERS = 1_500
USUAL = {
    *(
        "everything",
        "state-active",
        "state-deleted",
        "state-blocked",
        "state-warned",
        "state-expired",
        "since",
        "until",
    ),
    *("tag-frequent", "tag-middling", "tag-rare", "tag-unknown", "tag-day", "day", "active-tag", "never"),
    *("word-of-all", "word-frequent", "word-middling", "word-rare", "word-unknown", "words-frequent-and-rare"),
    *("prefix-of-all", "prefix-short", "prefix-frequent", "prefix-unknown", "prefix-and-rare-word"),
}
"""What is asked for all the time, the newest or the oldest first."""

pytestmark = pytest.mark.timeout(900)


@dataclass
class Explaining:
    """A pool of one connection, which notes the plan of every statement before it runs it."""

    connection_of: asyncpg.Connection
    plans: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    last: str = ""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Explaining]:
        yield self
        await self.connection_of.execute(self.last)

    async def execute(self, query: str) -> str:
        """As a session; for what begins a transaction, whose plan is none."""
        return await self.connection_of.execute(query)

    def leave(self, query: str) -> None:
        """As a session."""
        self.last = query

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        await self.connection_of.execute(f"PREPARE explained AS {query}")
        try:
            plan = await self.connection_of.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({', '.join(map(_literal, args))})"
            )
        finally:
            await self.connection_of.execute("DEALLOCATE explained")
        self.plans.append(json.loads(plan)[0]["Plan"])
        return await self.connection_of.fetch(query, *args)


@pytest.fixture(
    scope="module",
    params=[pytest.param(100_000, marks=pytest.mark.slow), pytest.param(1_000_000, marks=pytest.mark.nightly)],
)
def filled(request: pytest.FixtureRequest, postgres: Server) -> Iterator[Database]:
    """A database with many links."""
    database = postgres.make_database()

    async def work() -> None:
        connection = await asyncpg.connect(database.url())
        try:
            await fill(connection, request.param, crowd=CROWD)
        finally:
            await connection.close()

    run(work())
    yield database
    run(_drop(database))


async def _drop(database: Database) -> None:
    connection = await asyncpg.connect(database.cluster.url(database="postgres"))
    try:
        await connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
async def explaining(filled: Database) -> AsyncIterator[Explaining]:
    """As the API's own connections are, but for the time that a statement may take."""
    connection = await asyncpg.connect(
        filled.url("waypost_api"), server_settings=session_settings("waypost_api", "test", command_timeout=30)
    )
    yield Explaining(connection)
    await connection.close()


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("name", FILTERS)
async def test_a_page_is_read_by_indexes_and_with_bounded_work(explaining: Explaining, name: str, order: Order) -> None:
    storage = PostgresStorage(cast(Postgres, explaining), "https://way.example")
    middle = await _middle(explaining.connection_of, order.field)
    # The driver prepares statements, and the server may at any time settle for a plan that looks at no values.
    for mode in ("force_custom_plan", "force_generic_plan"):
        await explaining.connection_of.execute(f"SET plan_cache_mode = {mode}")
        for after in (None, middle):
            explaining.plans.clear()
            await storage.list_links(WORKSPACES[0], ListQuery(FILTERS[name], order, 50, after), NOW)
            assert explaining.plans
            for plan in explaining.plans:
                scans = [node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan"]
                assert not scans, _text(plan)
                assert not [node for node in _nodes(plan) if not _by_own_rows(node)], _text(plan)
                assert _buffers(plan) <= MAX_BUFFERS, _text(plan)
            if name in USUAL and order.field is OrderField.CREATED_AT:
                assert sum(map(_buffers, explaining.plans)) <= USUAL_BUFFERS, "\n".join(map(_text, explaining.plans))


@pytest.mark.parametrize("workspace_id", [WORKSPACES[0], small_workspace(CROWD - 1)], ids=["large", "small"])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("get_link", []),
        ("lock_link", []),
        ("set_link_deleted", [True]),
        ("update_link", ["https://example.org/", ["x"], 302, NOW, "", ["x"], 0, False, ["#x"]]),
    ],
)
async def test_one_link_is_read_and_changed_by_its_own_index(
    explaining: Explaining, name: str, more: list[object], workspace_id: UUID
) -> None:
    connection = explaining.connection_of
    for mode in ("force_custom_plan", "force_generic_plan"):
        async with connection.transaction():
            await connection.execute(begin_in(workspace_id).partition(";")[2])
            await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
            code = await connection.fetchval(
                "SELECT short_code FROM links WHERE workspace_id = $1 LIMIT 1", workspace_id
            )
            explaining.plans.clear()
            await explaining.fetch(QUERIES[name], code, *more, workspace_id)
        (plan,) = explaining.plans
        scans = [node for node in _nodes(plan) if "Index Name" in node or node["Node Type"] == "Seq Scan"]
        assert all(map(_by_own_rows, scans)), _text(plan)
        assert not [node for node in scans if node["Node Type"] == "Seq Scan"], _text(plan)
        assert any(node["Index Name"] == "links_own_code" and node["Actual Rows"] == 1 for node in scans), _text(plan)
        assert _buffers(plan) <= ONE_LINK_BUFFERS, _text(plan)


async def _middle(connection: asyncpg.Connection, column: OrderField) -> Cursor:
    """A cursor in the middle of the list of all links."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL waypost.workspace = '{WORKSPACES[0]}'")
        row = await connection.fetchrow(
            f"""
            SELECT {column} AS key, id FROM links WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY {column}, id
            OFFSET (SELECT count(*) / 2 FROM links WHERE workspace_id = $1 AND deleted_at IS NULL) LIMIT 1
            """,  # noqa: S608 - the name of a column
            WORKSPACES[0],
        )
    assert row is not None
    return Cursor(row["key"], row["id"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _by_own_rows(node: dict[str, Any]) -> bool:
    """Whether the node is no scan of an index, or one of the workspace's own part of it, or one row by its id."""
    if "Index Name" not in node:
        return True
    condition = node.get("Index Cond", "")
    return "(workspace_id = " in condition or (
        node["Index Name"] in ("links_pkey", "click_budgets_pkey")
        and re.match(r"\((link_)?id = ", condition) is not None
    )


def _buffers(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _text(plan: dict[str, Any], depth: int = 0) -> str:
    """The plan for people."""
    line = (
        f"{'  ' * depth}{plan['Node Type']} {plan.get('Index Name', plan.get('Relation Name', ''))}"
        f" {plan['Actual Rows']} rows x {plan['Actual Loops']}, expected {plan['Plan Rows']}, {_buffers(plan)} buffers"
    )
    return "\n".join([line, *(_text(child, depth + 1) for child in plan.get("Plans", []))])


def _literal(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    return "'{}'".format(str(value).replace("'", "''"))
