"""Overrides in a store: one for each descriptor, none after its time, and in the log; in memory as in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import orjson
import pytest

from tests.support.identities import as_operator
from tests.support.memory_overrides import MemoryOverrides
from tests.support.postgres import Database
from waypost.adapters import postgres_overrides
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_overrides import PostgresOverrides
from waypost.audit import Action, entry_of
from waypost.clock import ServerClock
from waypost.errors import DependencyUnavailable
from waypost.model import DEFAULT_WORKSPACE, LimitEntry
from waypost.override_ports import OverrideStore
from waypost.overrides import LimitUnit, NewOverride, Override, OverrideNumbers, OverridePlace

TEN_A_MINUTE = OverrideNumbers(10, LimitUnit.MINUTE)


def new(value: str = "a", domain: str = "shop", **changes: object) -> NewOverride:
    """An override for one key."""
    entries = (LimitEntry("route", "buy"), LimitEntry("key", value))
    made = NewOverride(domain, entries, TEN_A_MINUTE, "", None, "user:ada")
    return replace(made, **changes)  # type: ignore[arg-type]


async def put(store: OverrideStore, override: NewOverride) -> Override:
    async with store.unit_of_work() as work:
        stored = await work.overrides.set(override)
        await work.commit()
    return stored


async def listed(store: OverrideStore, domain: str = "") -> list[str]:
    """The values of the overrides' last entries, as they are listed."""
    return [one.entries[-1].value for one in (await store.list_overrides(domain, 100, None)).overrides]


@pytest.fixture
async def limiter(database: Database) -> AsyncIterator[Postgres]:
    """The rate limiter's pool."""
    async with Postgres(database.url("waypost_limiter"), max_size=4) as pool:
        yield pool


@pytest.fixture
def kept(limiter: Postgres) -> PostgresOverrides:
    return PostgresOverrides(limiter)


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> OverrideStore:
    if request.param == "memory":
        return MemoryOverrides(ServerClock())
    found: PostgresOverrides = request.getfixturevalue("kept")
    return found


async def test_what_is_set_comes_back(store: OverrideStore) -> None:
    until = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
    numbers = OverrideNumbers(4_294_967_295, LimitUnit.YEAR, 4_294_967_295)
    for wanted in (
        new("all", numbers=numbers, reason="größer ☂", expires_at=until),
        new("none", numbers=OverrideNumbers(0, LimitUnit.SECOND)),
        new("unlimited", numbers=None),
        new("long", entries=tuple(LimitEntry("k" * 255, "v" * 4096) for _ in range(32)), domain="d" * 255),
        new("odd", entries=(LimitEntry("a", ""), LimitEntry("a", "\x01 \\u0000 \n\t\"'{}[],\U0001f512"))),
    ):
        stored = await put(store, wanted)
        assert stored == Override(
            stored.override_id,
            wanted.domain,
            wanted.entries,
            wanted.numbers,
            wanted.reason,
            wanted.expires_at,
            stored.created_at,
            wanted.created_by,
        )
        assert abs(stored.created_at - datetime.now(UTC)) < timedelta(minutes=1)
        page = await store.list_overrides("", 1, None)
        assert page.overrides == (stored,)
        async with store.unit_of_work() as work:
            assert await work.overrides.find(wanted) == stored


async def test_a_descriptor_has_one_override_which_keeps_its_id_when_it_is_replaced(store: OverrideStore) -> None:
    first = await put(store, new())
    others = [
        await put(store, new("b")),
        await put(store, new(domain="other")),
        # The same texts in other places are another descriptor.
        await put(store, new(entries=(LimitEntry("key", "a"), LimitEntry("route", "buy")))),
        await put(store, new(entries=(LimitEntry("routeb", "uy"), LimitEntry("key", "a")))),
    ]
    second = await put(store, new(numbers=None, reason="now without", created_by="user:eve"))
    assert (second.override_id, second.numbers, second.created_by) == (first.override_id, None, "user:eve")
    assert second.created_at > first.created_at
    page = await store.list_overrides("", 100, None)
    assert page.overrides == (second, *reversed(others))
    async with store.unit_of_work() as work:
        assert await work.overrides.count() == 5


async def test_lists_have_pages_and_domains(store: OverrideStore) -> None:
    for number in range(7):
        await put(store, new(str(number), domain="even" if number % 2 == 0 else "odd"))
    assert await listed(store) == list("6543210")
    assert await listed(store, "odd") == list("531")
    assert await listed(store, "neither") == []
    found: list[str] = []
    after: OverridePlace | None = None
    while True:
        page = await store.list_overrides("even", 2, after)
        found += [one.entries[-1].value for one in page.overrides]
        after = page.next
        if after is None:
            break
        # What is set meanwhile stands before what was read, and moves nothing.
        await put(store, new(f"late {len(found)}", domain="even"))
    assert found == list("6420")


async def test_deleting(store: OverrideStore) -> None:
    stored = await put(store, new())
    await put(store, new("b"))
    async with store.unit_of_work() as work:
        assert await work.overrides.delete(uuid4()) is None
        assert await work.overrides.delete(stored.override_id) == stored
        await work.commit()
    async with store.unit_of_work() as work:
        assert await work.overrides.delete(stored.override_id) is None
    assert await listed(store) == ["b"]
    assert (await put(store, new())).override_id != stored.override_id


async def test_what_is_not_committed_did_not_happen(store: OverrideStore) -> None:
    stored = await put(store, new())
    async with store.unit_of_work() as work:
        await work.overrides.set(new("b"))
        await work.overrides.delete(stored.override_id)
    assert await listed(store) == ["a"]


async def test_what_has_expired_is_not_there_and_goes(kept: PostgresOverrides, owner: asyncpg.Connection) -> None:
    await put(kept, new("stays"))
    await put(kept, new("later", expires_at=datetime.now(UTC) + timedelta(hours=1)))
    over = await put(kept, new("over", expires_at=datetime.now(UTC) + timedelta(hours=1)))
    await owner.execute("UPDATE limit_overrides SET expires_at = clock_timestamp() WHERE id = $1", over.override_id)
    assert await listed(kept) == ["later", "stays"]
    async with kept.unit_of_work() as work:
        assert await work.overrides.find(new("over")) is None
        assert await work.overrides.delete(over.override_id) is None
        assert await work.overrides.count() == 2
    # Undone with the unit of work; the next one that is committed takes it out.
    assert await owner.fetchval("SELECT count(*) FROM limit_overrides") == 3
    assert (await put(kept, new("over"))).override_id != over.override_id
    assert await owner.fetchval("SELECT count(*) FROM limit_overrides") == 3


async def test_operators_at_once_wait_for_one_another(kept: PostgresOverrides) -> None:
    async def add(value: str) -> int:
        async with kept.unit_of_work() as work:
            seen = await work.overrides.count()
            await work.overrides.set(new(value))
            await work.commit()
        return seen

    assert sorted(await asyncio.gather(*(add(str(number)) for number in range(4)))) == [0, 1, 2, 3]


async def test_entries_of_the_log_join_the_transaction_and_speak_of_overrides_alone(
    kept: PostgresOverrides, owner: asyncpg.Connection
) -> None:
    def entry(action: Action) -> object:
        return entry_of(as_operator(), "call-1", action, "o", {"limit": "10 per minute"}, DEFAULT_WORKSPACE)

    async with kept.unit_of_work() as work:
        await work.overrides.set(new())
        await work.audit.add_all([entry(Action.OVERRIDE_SET)])  # type: ignore[list-item]
        await work.commit()
    async with kept.unit_of_work() as work:
        await work.audit.add_all([entry(Action.OVERRIDE_DELETE)])  # type: ignore[list-item]
    rows = await owner.fetch("SELECT action, workspace_id, principal, details FROM audit_log")
    assert [tuple(row) for row in rows] == [
        (
            "override.set",
            DEFAULT_WORKSPACE,
            "user:ada",
            orjson.dumps({"limit": "10 per minute"}).decode().replace(":", ": "),
        )
    ]
    async with kept.unit_of_work() as work:
        with pytest.raises(DependencyUnavailable):
            await work.audit.add_all([entry(Action.LINK_BLOCK)])  # type: ignore[list-item]


async def test_resets_are_in_the_log_by_themselves(kept: PostgresOverrides, owner: asyncpg.Connection) -> None:
    details = {"domain": "shop", "descriptors": "key=a\0"}
    for action in (Action.LIMIT_RESET, Action.OVERRIDE_SET):
        await kept.record(entry_of(as_operator(), "call-1", action, "shop", details, DEFAULT_WORKSPACE))
    rows = await owner.fetch("SELECT action, object, principal, correlation_id, details FROM audit_log ORDER BY id")
    assert [tuple(row)[:4] for row in rows] == [
        ("limit.reset", "shop", "user:ada", "call-1"),
        ("override.set", "shop", "user:ada", "call-1"),
    ]
    assert orjson.loads(rows[0]["details"]) == {"domain": "shop", "descriptors": "key=a\ufffd"}
    with pytest.raises(DependencyUnavailable):
        await kept.record(entry_of(as_operator(), "call-1", Action.LINK_BLOCK, "o", {}, DEFAULT_WORKSPACE))


async def test_a_page_of_long_overrides_is_shorter(kept: PostgresOverrides, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        await put(kept, new(entries=(LimitEntry("key", f"{number}" * 4000),)))
    monkeypatch.setattr(postgres_overrides, "MAX_PAGE_BYTES", 8000)
    found, after, pages = [], None, 0
    while True:
        page = await kept.list_overrides("", 100, after)
        found += [one.entries[0].value[0] for one in page.overrides]
        after, pages = page.next, pages + 1
        if after is None:
            break
    assert (found, pages) == (list("43210"), 3)


@pytest.mark.parametrize(
    "change",
    [
        "digest = ''", "domain = ''", "domain = repeat('x', 256)", "entries = '[]'", "entries = '{}'", "unit = NULL",
        "unit = 'fortnight'", "requests_per_unit = NULL", "requests_per_unit = -1", "requests_per_unit = 4294967296",
        "burst = 0", "burst = 1, unit = NULL, requests_per_unit = NULL", "reason = repeat('x', 501)",
    ],
)  # fmt: skip
async def test_the_table_takes_nothing_else(kept: PostgresOverrides, owner: asyncpg.Connection, change: str) -> None:
    await put(kept, new())
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(f"UPDATE limit_overrides SET {change}")  # noqa: S608
