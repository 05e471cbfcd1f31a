"""A change is stored whole or not at all, and outlives its caller."""

from __future__ import annotations

import asyncio

import pytest

from gateway.redirects import NOT_FOUND
from tests.support.waiting import turn
from tests.unit.gateway.world import URL, World
from waypost.errors import DependencyUnavailable
from waypost.model import EventType, LinkState

# One unit of work


async def test_nothing_is_stored_when_the_event_cannot_be(world: World) -> None:
    link = await world.create(alias="before")
    world.storage.events.clear()
    world.storage.event_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="after")
    with pytest.raises(DependencyUnavailable):
        await world.delete("before")
    assert world.storage.links == {"before": link}
    assert world.storage.events == []
    assert (await world.redirects.look("after")) == NOT_FOUND
    assert (await world.redirects.look("before")).state is LinkState.ACTIVE


async def test_commit_that_fails_leaves_the_cache_as_it_was(world: World) -> None:
    world.storage.commit_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="spring")
    assert await world.redirects.look("spring") == NOT_FOUND


# Callers who go away


async def test_create_goes_on_when_its_caller_has_gone(world: World) -> None:
    world.storage.may_commit.clear()
    task = asyncio.create_task(world.create(alias="spring"))
    await world.storage.committing.wait()
    task.cancel()
    await turn()
    assert task.cancelled()
    assert world.storage.links == {}
    world.storage.may_commit.set()
    await turn()
    assert list(world.storage.links) == ["spring"]
    assert len(world.storage.events) == 1
    # The rest of the work is done as well: the link is known without a read.
    assert (await world.redirects.look("spring")).location == URL
    assert world.storage.asked == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_delete_goes_on_when_its_caller_has_gone(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.redirects.look("spring")).status == 302
    world.storage.committing.clear()
    world.storage.may_commit.clear()
    task = asyncio.create_task(world.delete("spring"))
    await world.storage.committing.wait()
    task.cancel()
    await turn()
    world.storage.may_commit.set()
    await turn()
    # Seen here at once, not only when the feed brings it.
    assert (await world.redirects.look("spring")).status == 410
    assert [event.type for event in world.storage.events] == [EventType.LINK_CREATED, EventType.LINK_DELETED]


@pytest.mark.parametrize("error", [DependencyUnavailable("postgres"), RuntimeError("a defect")])
async def test_failure_that_nobody_waits_for_is_no_unheard_exception(world: World, error: Exception) -> None:
    world.storage.may_commit.clear()
    world.storage.commit_error = error
    task = asyncio.create_task(world.create(alias="spring"))
    await world.storage.committing.wait()
    task.cancel()
    await turn()
    world.storage.may_commit.set()
    await turn()
    assert world.storage.links == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}
