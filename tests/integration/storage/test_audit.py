"""The audit log in PostgreSQL: written with what it is about, read page by page, each workspace its own."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import orjson
import pytest

from tests.support.memory_accounts import Accounts, MemoryAccounts
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.access.identity import Identity
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_audit import MAX_DETAIL, MAX_LOOKED_AT, PostgresAuditReader
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_session import Session
from waypost.audit import Action, AuditEvent, AuditPage, AuditQuery, entry_of
from waypost.errors import DependencyUnavailable
from waypost.model import DEFAULT_WORKSPACE

HERE = DEFAULT_WORKSPACE
ELSEWHERE = UUID("00000000-0000-0000-0000-00000000000e")
START = datetime(2026, 1, 1, tzinfo=UTC)
SOMEBODY = Identity("user:ann", HERE, address="192.0.2.0")


@pytest.fixture
def reader(api: Postgres, operators: Postgres) -> PostgresAuditReader:
    return PostgresAuditReader(api, operators)


def event(number: int, **fields: Any) -> AuditEvent:
    """An event as it is stored, one a second."""
    values: dict[str, Any] = {
        "event_id": number,
        "occurred_at": START + timedelta(seconds=number),
        "workspace_id": HERE,
        "principal": "user:ann",
        "address": "192.0.2.0",
        "action": "link.create",
        "object": "abc1234",
        "details": {"n": str(number)},
        "correlation_id": f"call-{number}",
    }
    return AuditEvent(**(values | fields))


async def store(owner: asyncpg.Connection, events: Sequence[AuditEvent]) -> None:
    """Writes events with their own ids and times, which nobody else can."""
    await owner.executemany(
        "INSERT INTO audit_log "
        "(id, occurred_at, workspace_id, principal, address, action, object, details, correlation_id) "
        "OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (
                one.event_id,
                one.occurred_at,
                one.workspace_id,
                one.principal,
                one.address,
                one.action,
                one.object,
                orjson.dumps(dict(one.details)).decode(),
                one.correlation_id,
            )
            for one in events
        ],
    )


async def pages(reader: PostgresAuditReader | MemoryAccounts, query: AuditQuery) -> list[AuditPage]:
    """All pages."""
    found: list[AuditPage] = []
    while True:
        page = await reader.read_audit(query)
        assert len(page.events) <= query.size
        found.append(page)
        if page.next is None:
            return found
        query = replace(query, after=page.next)


def events_of(found: Sequence[AuditPage]) -> list[AuditEvent]:
    return [one for page in found for one in page.events]


async def test_what_is_written_with_a_change_is_read_back(
    storage: PostgresStorage, reader: PostgresAuditReader, owner: asyncpg.Connection
) -> None:
    details = {"name": "Träume 🦉", "scopes": "a b", "nul": "a\x00b", "long": "x" * (MAX_DETAIL + 1)}
    before = await owner.fetchval("SELECT clock_timestamp()")
    async with storage.unit_of_work(HERE) as work:
        await work.audit.add_all([entry_of(SOMEBODY, "call-1", Action.KEY_CREATE, "o", details)])
        await work.commit()
    (found,) = (await reader.read_audit(AuditQuery(HERE, 10))).events
    assert before <= found.occurred_at <= await owner.fetchval("SELECT clock_timestamp()")
    assert found == AuditEvent(
        found.event_id,
        found.occurred_at,
        HERE,
        "user:ann",
        "192.0.2.0",
        "key.create",
        "o",
        {"name": "Träume 🦉", "scopes": "a b", "nul": "a\ufffdb", "long": "x" * (MAX_DETAIL - 1) + "…"},
        "call-1",
    )


async def test_without_commit_nothing_is_written(storage: PostgresStorage, reader: PostgresAuditReader) -> None:
    async with storage.unit_of_work(HERE) as work:
        await work.audit.add_all([entry_of(SOMEBODY, "call-1", Action.KEY_CREATE, "o")])
    assert await reader.read_audit(AuditQuery(HERE, 10)) == AuditPage((), None)


async def test_nothing_is_written_into_the_log_of_another_workspace(
    storage: PostgresStorage, reader: PostgresAuditReader
) -> None:
    async with storage.unit_of_work(HERE) as work:
        with pytest.raises(DependencyUnavailable):
            await work.audit.add_all(
                [
                    entry_of(SOMEBODY, "call-1", Action.KEY_CREATE, "o"),
                    entry_of(SOMEBODY, "call-1", Action.KEY_CREATE, "o", workspace_id=ELSEWHERE),
                ]
            )
        with pytest.raises(DependencyUnavailable):
            await work.commit()
    assert await reader.read_audit(AuditQuery(None, 10)) == AuditPage((), None)


async def test_every_query_is_answered_as_by_a_plain_list(
    owner: asyncpg.Connection, reader: PostgresAuditReader, api: Postgres, operators: Postgres
) -> None:
    drawn = random.Random(20260601)
    rows = Accounts()
    for number in range(1, 301):
        rows.audit.append(
            event(
                number,
                # Many at one time, and not in the order of their ids.
                occurred_at=START + timedelta(seconds=drawn.randrange(12), microseconds=drawn.randrange(2)),
                workspace_id=drawn.choice((HERE, HERE, ELSEWHERE)),
                principal=drawn.choice(("user:ann", "user:bob", "key:0123456789abcdef")),
                action=drawn.choice(("link.create", "link.update", "key.create", "keyring.create", "key.new_verb")),
                object=drawn.choice(("abc1234", "ABC1234", "%", "_")),
            )
        )
    await store(owner, rows.audit)
    plain = MemoryAccounts(rows)
    conditions: dict[str, tuple[Any, ...]] = {
        "workspace_id": (HERE, ELSEWHERE, None, UUID(int=77)),
        "principal": ("", "user:ann", "user:nobody"),
        "action": ("", "key.create", "key.", "link.", "nothing."),
        "object": ("", "abc1234", "%"),
        "from_": (None, START + timedelta(seconds=3)),
        "until": (None, START + timedelta(seconds=9, microseconds=1)),
    }
    tried = 0
    for values in itertools.product(*conditions.values()):
        named = dict(zip(conditions, values, strict=True))
        for size in drawn.sample((1, 7, 40, 1000), 2 if named["principal"] else 1):
            query = AuditQuery(size=size, **named)
            if size == 1 and not (named["principal"] and named["action"]):
                continue
            found, expected = await pages(reader, query), await pages(plain, query)
            assert found == expected, query
            tried += len(events_of(found))
    assert tried > 5000
    await until(lambda: (api.in_use, operators.in_use) == (0, 0))


async def test_a_workspace_sees_no_other_whatever_it_asks(
    owner: asyncpg.Connection, reader: PostgresAuditReader, api: Postgres
) -> None:
    await store(owner, [event(1, workspace_id=ELSEWHERE), event(2)])
    assert [one.event_id for one in (await reader.read_audit(AuditQuery(HERE, 10))).events] == [2]
    assert [one.event_id for one in (await reader.read_audit(AuditQuery(HERE, 10, object="abc1234"))).events] == [2]
    assert [one.event_id for one in (await reader.read_audit(AuditQuery(None, 10))).events] == [2, 1]
    # The whole log, asked for as the wrong role: there is none outside of a workspace.
    assert await PostgresAuditReader(api, api).read_audit(AuditQuery(None, 10)) == AuditPage((), None)


async def test_a_page_looks_at_a_bounded_number_of_rows_and_the_next_goes_on_behind_them(
    owner: asyncpg.Connection, reader: PostgresAuditReader
) -> None:
    many = 2 * MAX_LOOKED_AT + 500
    await owner.execute(
        "INSERT INTO audit_log (occurred_at, workspace_id, principal, address, action, object, correlation_id) "
        "SELECT $1::timestamptz + i * interval '1 second', $2, "
        "CASE WHEN i IN (10, 10500, $3) THEN 'user:rare' ELSE 'user:ann' END, "
        "'', 'link.create', CASE WHEN i % 3 = 0 THEN 'often' ELSE 'o' || i END, '' FROM generate_series(1, $3) AS i",
        START,
        HERE,
        many,
    )

    def seconds(page: AuditPage) -> list[float]:
        return [(one.occurred_at - START).total_seconds() for one in page.events]

    for workspace_id in (HERE, None):
        found = await pages(reader, AuditQuery(workspace_id, 2, principal="user:rare"))
        assert [seconds(page) for page in found] == [[many], [10500], [10]]
        places = [page.next.occurred_at for page in found if page.next is not None]
        assert places == [
            START + timedelta(seconds=many - MAX_LOOKED_AT + 1),
            START + timedelta(seconds=many - 2 * MAX_LOOKED_AT + 1),
        ]
        found = await pages(reader, AuditQuery(workspace_id, 2, principal="user:nobody"))
        assert [seconds(page) for page in found] == [[], [], []]
        found = await pages(reader, AuditQuery(workspace_id, 1, principal="user:rare"))
        assert [seconds(page) for page in found] == [[many], [10500], [10]]
    # Of one object only its own events are looked at.
    found = await pages(reader, AuditQuery(HERE, 5, object="o10", principal="user:rare"))
    assert [seconds(page) for page in found] == [[10]]


async def test_where_the_rows_to_look_at_end_with_the_log_the_walk_ends_too(
    owner: asyncpg.Connection, reader: PostgresAuditReader
) -> None:
    await owner.execute(
        "INSERT INTO audit_log (workspace_id, principal, address, action, object, correlation_id) "
        "SELECT $1, 'user:ann', '', 'link.create', 'o' || i, '' FROM generate_series(1, $2) AS i",
        HERE,
        MAX_LOOKED_AT,
    )
    found = await pages(reader, AuditQuery(HERE, 1000))
    assert [len(page.events) for page in found] in ([1000] * 10, [*([1000] * 10), 0])
    assert len({one.event_id for one in events_of(found)}) == MAX_LOOKED_AT
    assert [len(page.events) for page in await pages(reader, AuditQuery(HERE, 5, principal="nobody"))] == [0, 0]


class Explaining(Postgres):
    """A pool that notes the plan of every statement that reads."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn, max_size=1)
        self.plans: list[dict[str, Any]] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Session]:
        async with super().connection() as session:
            yield cast(Session, ExplainingSession(session, self.plans))


class ExplainingSession:
    """A session but for that."""

    def __init__(self, session: Session, plans: list[dict[str, Any]]) -> None:
        self._session = session
        self._plans = plans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        plan = await self._session.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *args)
        self._plans.append(json.loads(plan)[0]["Plan"])
        return await self._session.fetch(query, *args)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


@pytest.mark.parametrize("analyzed", [False, True], ids=["no statistics", "statistics"])
async def test_pages_are_read_by_the_index_that_has_their_order(database: Database, analyzed: bool) -> None:
    connection = await asyncpg.connect(database.url())
    await connection.execute(
        "INSERT INTO audit_log (workspace_id, principal, address, action, object, correlation_id) "
        "SELECT CASE WHEN i % 20 = 0 THEN $1::uuid ELSE $2::uuid END, 'user:ann', '', 'link.create', 'o' || i % 40, '' "
        "FROM generate_series(1, 40000) AS i",
        HERE,
        ELSEWHERE,
    )
    if analyzed:
        await connection.execute("ANALYZE audit_log")
    await connection.close()
    queries = {
        AuditQuery(HERE, 50, principal="user:nobody"): "audit_log_by_workspace",
        AuditQuery(ELSEWHERE, 50, principal="user:nobody"): "audit_log_by_workspace",
        AuditQuery(ELSEWHERE, 50): "audit_log_by_workspace",
        AuditQuery(HERE, 50, object="o20"): "audit_log_by_object",
        AuditQuery(ELSEWHERE, 50, object="o1", action="key."): "audit_log_by_object",
        AuditQuery(None, 50): "audit_log_by_time",
        AuditQuery(None, 50, object="o0", principal="user:nobody"): "audit_log_by_time",
    }
    async with (
        Explaining(database.url("waypost_api")) as api,
        Explaining(database.url("waypost_operator")) as operators,
    ):
        for query, index in queries.items():
            await PostgresAuditReader(api, operators).read_audit(query)
            plan = (operators if query.workspace_id is None else api).plans[-1]
            scans = [node for node in nodes(plan) if "Scan" in node["Node Type"].replace("Subquery Scan", "")]
            assert [node["Node Type"] for node in scans] == ["Index Scan"], query
            # Who has nearly all of the log may be read from the whole of it.
            passed_over = scans[0].get("Rows Removed by Filter", 0)
            if query.workspace_id == ELSEWHERE and scans[0]["Index Name"] == "audit_log_by_time":
                assert passed_over < scans[0]["Actual Rows"] / 10, query
            else:
                assert (scans[0]["Index Name"], passed_over) == (index, 0), query
            most = 51 if not query.principal and not query.action else MAX_LOOKED_AT
            assert scans[0]["Actual Rows"] <= most, query
            assert not any("Sort" in node["Node Type"] for node in nodes(plan)), query
        assert (len(api.plans), len(operators.plans)) == (5, 2)
