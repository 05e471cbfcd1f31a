"""What operators do with overrides, and what they are told when they may not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from ratelimiter.overrides.handlers import NoStore, OverrideHandlers
from ratelimiter.overrides.requests import Caller, ListOverrides, SetOverride
from tests.support.identities import as_operator
from tests.support.memory_overrides import MemoryOverrides
from waypost.audit import Action
from waypost.errors import InvalidFields, ResourceNotFound, TooMany
from waypost.model import DEFAULT_WORKSPACE, LimitEntry
from waypost.overrides import LimitUnit, OverrideNumbers

NOW = datetime(2031, 1, 1, tzinfo=UTC)
CALLER = Caller(as_operator(UUID(int=9)), "call-1")
ENTRIES = (LimitEntry("route", "buy"), LimitEntry("key", "a"))
TEN = SetOverride("shop", ENTRIES, requests_per_unit=10, unit=LimitUnit.MINUTE)


class Standing:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW


class World:
    """The use cases over a store in memory."""

    def __init__(self, most: int = 10) -> None:
        self.store = MemoryOverrides(Standing())
        self.handlers = OverrideHandlers(self.store, Standing(), most)

    async def refused(self, request: SetOverride) -> dict[str, str]:
        """What is wrong, by field; nothing was stored."""
        before = self.store.overrides
        with pytest.raises(InvalidFields) as raised:
            await self.handlers.set(request, CALLER)
        assert (self.store.overrides, self.store.entries) == (before, [])
        fields = [violation.field for violation in raised.value.violations]
        assert len(set(fields)) == len(fields), "one field, one sentence"
        return {violation.field: violation.description for violation in raised.value.violations}


@pytest.fixture
def world() -> World:
    return World()


async def test_setting_is_written_into_the_log_of_the_first_workspace(world: World) -> None:
    until = NOW + timedelta(days=1)
    override = await world.handlers.set(replace(TEN, burst=20, reason=" big sale ", expires_at=until), CALLER)
    assert (override.numbers, override.reason, override.expires_at, override.created_by) == (
        OverrideNumbers(10, LimitUnit.MINUTE, 20),
        "big sale",
        until,
        "user:ada",
    )
    (entry,) = world.store.entries
    assert (entry.action, entry.object, entry.workspace_id, entry.principal, entry.correlation_id) == (
        Action.OVERRIDE_SET,
        str(override.override_id),
        DEFAULT_WORKSPACE,
        "user:ada",
        "call-1",
    )
    assert entry.details == {
        "domain": "shop",
        "descriptor": "route=buy,key=a",
        "limit": "10 per minute",
        "burst": "20",
        "expires_at": "2031-01-02T00:00:00+00:00",
        "reason": "big sale",
    }


async def test_replacing_keeps_the_id_and_notes_what_was(world: World) -> None:
    first = await world.handlers.set(TEN, CALLER)
    second = await world.handlers.set(SetOverride("shop", ENTRIES, unlimited=True), CALLER)
    assert (second.override_id, second.numbers) == (first.override_id, None)
    assert world.store.entries[1].details == {
        "domain": "shop",
        "descriptor": "route=buy,key=a",
        "limit": "unlimited",
        "limit_before": "10 per minute",
    }


async def test_deleting(world: World) -> None:
    override = await world.handlers.set(TEN, CALLER)
    assert await world.handlers.delete(str(override.override_id), CALLER) == override
    assert world.store.overrides == {}
    assert [entry.action for entry in world.store.entries] == [Action.OVERRIDE_SET, Action.OVERRIDE_DELETE]
    for none in (str(override.override_id), str(uuid4()), "no uuid"):
        with pytest.raises(ResourceNotFound, match=f"no override '{none}' here"):
            await world.handlers.delete(none, CALLER)
    with pytest.raises(InvalidFields, match="override_id: must not be empty"):
        await world.handlers.delete("", CALLER)
    assert len(world.store.entries) == 2


async def test_there_are_only_so_many_and_replacing_makes_none_more() -> None:
    world = World(most=2)
    for value in ("a", "b"):
        await world.handlers.set(replace(TEN, entries=(LimitEntry("key", value),)), CALLER)
    with pytest.raises(TooMany, match="the mesh has 2 overrides already, and may have no more"):
        await world.handlers.set(replace(TEN, entries=(LimitEntry("key", "c"),)), CALLER)
    await world.handlers.set(replace(TEN, entries=(LimitEntry("key", "a"),), requests_per_unit=0), CALLER)
    assert len(world.store.entries) == 3


async def test_lists_have_pages_whose_tokens_belong_to_their_domain(world: World) -> None:
    for number in range(5):
        await world.handlers.set(replace(TEN, entries=(LimitEntry("key", str(number)),)), CALLER)
    found, token = [], ""
    while True:
        page, token = await world.handlers.page(ListOverrides("shop", 2, token))
        found.append([one.entries[0].value for one in page.overrides])
        if not token:
            break
    assert found == [["4", "3"], ["2", "1"], ["0"]]
    _, token = await world.handlers.page(ListOverrides("shop", 2, ""))
    with pytest.raises(InvalidFields, match="page_token: came with another domain"):
        await world.handlers.page(ListOverrides("", 2, token))
    for nonsense in (token[:-1], token + "A", token.swapcase(), "nonsense", "é"):
        with pytest.raises(InvalidFields, match="page_token: is no token of this server"):
            await world.handlers.page(ListOverrides("shop", 2, nonsense))
    with pytest.raises(InvalidFields) as raised:
        await world.handlers.page(ListOverrides("d" * 256, -1, "x"))
    assert [violation.field for violation in raised.value.violations] == ["domain", "page_size", "page_token"]
    page, token = await world.handlers.page(ListOverrides("", 100_000, ""))
    assert (len(page.overrides), token) == (5, "")


async def test_every_bad_field_is_named(world: World) -> None:
    bad = SetOverride(
        domain="d" * 256,
        entries=(LimitEntry("", "v" * 4097), LimitEntry("k" * 256, "")),
        unlimited=False,
        reason="x" * 501,
        expires_at=NOW,
    )
    assert await world.refused(bad) == {
        "domain": "must be at most 255 bytes",
        "entries[0].key": "must not be empty",
        "entries[0].value": "must be at most 4096 bytes",
        "entries[1].key": "must be at most 255 bytes",
        "unit": "is missing: give the span that `requests_per_unit` is for, or `unlimited`",
        "reason": "has 501 characters: shorten it to 500",
        "expires_at": "must be in the future (it is 2031-01-01T00:00:00Z now)",
    }


@pytest.mark.parametrize(
    ("request_", "field", "sentence"),
    [
        (replace(TEN, domain=""), "domain", "must not be empty"),
        (replace(TEN, domain="a\0"), "domain", "U+0000"),
        (replace(TEN, entries=()), "entries", "must not be empty"),
        (replace(TEN, entries=ENTRIES * 17), "entries", "must be at most 32"),
        (replace(TEN, entries=(LimitEntry("a", "\0"),)), "entries[0].value", "U+0000"),
        (replace(TEN, reason="a\x1b[2J"), "reason", "U+001B at position 2"),
        (replace(TEN, reason="a\u202e"), "reason", "U+202E at position 2"),
        (replace(TEN, expires_at=datetime(9999, 1, 1, tzinfo=UTC)), "expires_at", "must be before the year 9999"),
        (replace(TEN, unlimited=True, requests_per_unit=0), "unit", "must be absent"),
        (replace(TEN, unlimited=True, unit=None), "requests_per_unit", "must be absent"),
        (SetOverride("shop", ENTRIES, unlimited=True, burst=1), "burst", "must be absent"),
    ],
)
async def test_what_is_refused(world: World, request_: SetOverride, field: str, sentence: str) -> None:
    found = await world.refused(request_)
    assert list(found) == [field]
    assert sentence in found[field]


async def test_what_is_at_its_bounds_is_taken(world: World) -> None:
    entries = tuple(LimitEntry("k" * 255, "v" * 4096) for _ in range(32))
    for request in (
        replace(TEN, domain="d" * 255, entries=entries, reason="x" * 500, expires_at=NOW + timedelta(microseconds=1)),
        replace(TEN, requests_per_unit=0),
        replace(TEN, requests_per_unit=2**32 - 1, burst=2**32 - 1, unit=LimitUnit.YEAR),
        replace(TEN, reason="for a family \U0001f468\u200d\U0001f469\u200d\U0001f467, größer"),
    ):
        await world.handlers.set(request, CALLER)


async def test_without_a_database_the_setting_is_named() -> None:
    handlers = OverrideHandlers(None, Standing())
    for call in (
        handlers.set(TEN, CALLER),
        handlers.delete(str(uuid4()), CALLER),
        handlers.page(ListOverrides("", 0, "")),
    ):
        with pytest.raises(NoStore, match="set WAYPOST_DATABASE_URL"):
            await call
