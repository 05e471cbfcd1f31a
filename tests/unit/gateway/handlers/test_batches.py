"""Batches: each link by itself, in order."""

from __future__ import annotations

import pytest

from gateway.handlers import MAX_BATCH
from tests.unit.gateway.world import World, fields_of, wanted
from waypost.errors import AliasTaken, InvalidFields, RateLimited, WaypostError
from waypost.model import LimitDecision, Link


async def test_each_of_a_batch_is_made_or_refused_by_itself_in_order(world: World) -> None:
    await world.create(alias="taken")
    outcomes = await world.batch(
        wanted(alias="one"), wanted("no url"), wanted(alias="TAKEN"), wanted(), wanted(alias="ONE"), wanted(alias="two")
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Link, InvalidFields, AliasTaken, Link, AliasTaken, Link]
    made = [outcome for outcome in outcomes if isinstance(outcome, Link)]
    assert [link.short_code for link in made] == ["one", "Abcdefg", "two"]
    assert [event.link for event in world.storage.events[1:]] == made
    assert world.storage.commits == 2


async def test_random_codes_of_a_batch_that_are_taken_are_tried_again(world: World) -> None:
    world.codes = ["same222", "same222", "same222", "free333", "free444"]
    outcomes = await world.batch(wanted(), wanted(), wanted(alias="alias"), wanted())
    codes = [outcome.short_code for outcome in outcomes if isinstance(outcome, Link)]
    assert codes[2] == "alias"
    assert sorted([codes[0], codes[1], codes[3]]) == ["free333", "free444", "same222"]


async def test_batch_costs_as_many_hits_as_it_has_links(world: World) -> None:
    await world.batch(wanted(), wanted("bad"), wanted())
    assert world.limiter.hits == [3]
    world.limiter.decision = LimitDecision(False, "creates", 1.0)
    with pytest.raises(RateLimited):
        await world.batch(wanted())


@pytest.mark.parametrize("number", [0, MAX_BATCH + 1])
async def test_batch_has_bounds(world: World, number: int) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.batch(*[wanted()] * number)
    assert fields_of(caught.value) == ["requests"]
    assert (world.limiter.hits, world.storage.opened) == ([], 0)


async def test_batch_of_refusals_stores_nothing(world: World) -> None:
    outcomes = await world.batch(wanted("a"), wanted("b"))
    assert all(isinstance(outcome, WaypostError) for outcome in outcomes)
    assert (world.storage.commits, world.storage.events) == (0, [])
