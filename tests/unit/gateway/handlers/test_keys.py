"""Idempotency keys: the same request is done once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.support.memory_storage import NOW
from tests.support.waiting import turn
from tests.unit.gateway.world import CALLER, World, wanted
from waypost.errors import AliasTaken, DependencyUnavailable, IdempotencyKeyInUse, IdempotencyKeyReused
from waypost.model import EventType, LimitDecision


async def test_same_key_is_done_once(world: World) -> None:
    world.codes = ["first22", "second3"]
    first = await world.create(key="k")
    await world.delete(first.short_code)
    again = await world.create(key="k")
    assert again is first
    assert len(world.storage.links) == 1
    assert [event.type for event in world.storage.events] == [EventType.LINK_CREATED, EventType.LINK_DELETED]


async def test_what_was_done_is_answered_before_limits_and_checks(world: World) -> None:
    first = await world.create(key="k", alias="spring", expires_at=NOW + timedelta(seconds=2))
    world.limiter.decision = LimitDecision(False, "creates", 60.0)
    # As a retry that comes when the end that it asks for is over.
    assert await world.create("no url any more", key="k", expires_at=NOW) is first
    requests = [wanted(alias="one")]
    world.limiter.decision = LimitDecision(True)
    outcomes = await world.batch(*requests, key="b")
    world.limiter.decision = LimitDecision(False, "creates", 60.0)
    assert await world.batch(*requests, key="b") is outcomes
    assert world.limiter.hits == [1, 1]


async def test_same_key_for_another_request_is_refused(world: World) -> None:
    await world.create(key="k")
    with pytest.raises(IdempotencyKeyReused):
        await world.links.create(wanted(), CALLER, world.reply("k", b"g" * 32))
    assert await world.links.create(wanted(), CALLER, world.reply("k", b"g" * 32, "Other"))


async def test_failure_is_not_kept(world: World) -> None:
    await world.create(alias="spring")
    with pytest.raises(AliasTaken):
        await world.create(alias="spring", key="k")
    world.storage.commit_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="summer", key="k")
    world.storage.commit_error = None
    assert (await world.create(alias="summer", key="k")).short_code == "summer"


async def test_change_that_changes_nothing_is_kept_too(world: World) -> None:
    await world.create(alias="spring")
    first = await world.links.undelete("spring", "", CALLER, world.reply("k", method="UndeleteLink"))
    await world.delete("spring")
    assert await world.links.undelete("spring", "", CALLER, world.reply("k", method="UndeleteLink")) == first
    assert world.storage.links["spring"].deleted_at is not None


async def test_rivals_with_one_key_get_one_answer(world: World) -> None:
    world.codes = [f"code{number}99" for number in range(2, 9)]
    links = await asyncio.gather(*[world.create(key="k") for _ in range(7)])
    assert len({link.short_code for link in links}) == len(world.storage.links) == 1


async def test_rivals_take_one_unit_of_work_at_a_time(world: World) -> None:
    world.storage.may_commit.clear()
    first = asyncio.create_task(world.create(alias="spring", key="k"))
    await world.storage.committing.wait()
    rivals = [asyncio.create_task(world.create(alias="spring", key="k")) for _ in range(5)]
    other = asyncio.create_task(world.create(alias="summer", key="other"))
    await turn()
    assert world.storage.opened == 2, "one for each key"
    rivals[0].cancel()
    world.storage.may_commit.set()
    assert await first
    assert [await rival for rival in rivals[1:]] == [await first] * 4
    assert (await other).short_code == "summer"


async def test_rival_that_waits_too_long_is_told_to_come_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.transactions.PATIENCE", 0.01)
    world.storage.may_commit.clear()
    first = asyncio.create_task(world.create(alias="spring", key="k"))
    await world.storage.committing.wait()
    with pytest.raises(IdempotencyKeyInUse) as caught:
        await world.create(alias="spring", key="k")
    assert caught.value.key == "k"
    world.storage.may_commit.set()
    assert await world.create(alias="spring", key="k") == await first
