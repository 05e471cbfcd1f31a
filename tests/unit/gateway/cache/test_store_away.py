"""While the store is away, cached links are served for a while, and never what is known to have changed."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.gateway.cache.world import MAX_STALE, World
from waypost.errors import DependencyUnavailable


def away(world: World) -> None:
    """The database and with it the feed are gone."""
    world.feed.stop()
    world.store.error = DependencyUnavailable("postgres")


async def test_cached_links_are_served_while_the_store_is_away_but_not_for_ever(world: World) -> None:
    world.store.write(1)
    await world.version()
    world.time.now += 10_000  # long since it was read, but vouched for all the while
    assert await world.version() == 1
    away(world)
    world.time.now += MAX_STALE
    assert await world.version() == 1
    assert world.counted("stale") == 1
    world.time.now += 0.001
    with pytest.raises(DependencyUnavailable):
        await world.version()
    world.store.error = None
    assert await world.version() == 1


async def test_server_that_comes_and_goes_does_not_shorten_it(world: World) -> None:
    """A second outage finds entries that were not asked for in between: they were right until the first one began."""
    world.store.write(1)
    await world.version()
    world.time.now += 10_000
    await world.version()
    away(world)
    world.time.now += 5
    world.feed.gap()
    world.feed.stop()
    world.time.now += MAX_STALE - 5
    assert await world.version() == 1
    world.time.now += 0.001
    with pytest.raises(DependencyUnavailable):
        await world.version()


async def test_many_gaps_leave_no_trace_in_memory(world: World) -> None:
    world.store.write(1)
    for _ in range(2000):
        world.feed.gap()
        world.time.now += 10
        await world.version()
    assert len(world.cache._heartbeats) <= MAX_STALE / 10 + 2


async def test_nothing_is_served_stale_when_that_is_forbidden() -> None:
    world = World(max_stale=0)
    world.store.write(1)
    await world.version()
    away(world)
    world.time.now += 0.901
    with pytest.raises(DependencyUnavailable):
        await world.version()


async def test_unknown_code_is_never_served_stale(world: World) -> None:
    assert await world.version() == 0
    away(world)
    world.time.now += 0.5
    assert await world.version() == 0
    world.time.now += 0.5
    with pytest.raises(DependencyUnavailable):
        await world.version()


async def test_changed_link_is_never_served_stale(world: World) -> None:
    world.store.write(1)
    await world.version()
    world.told(2)
    away(world)
    with pytest.raises(DependencyUnavailable):
        await world.version()


async def test_link_created_here_is_served_stale(world: World) -> None:
    world.create()
    away(world)
    world.time.now += 60
    assert await world.version() == 1


async def test_defect_is_not_hidden_behind_a_stale_answer(world: World) -> None:
    world.store.write(1)
    await world.version()
    world.feed.gap()
    world.store.error = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        await world.version()


async def test_errors_are_not_remembered(world: World) -> None:
    world.store.error = DependencyUnavailable("postgres")
    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            await world.version()
    world.store.error = None
    world.store.write(1)
    assert await world.version() == 1
    assert len(world.store.reads) == 3


async def test_failed_read_fails_all_who_wait_and_nobody_else(world: World) -> None:
    hold = world.store.hold()
    hold.error = DependencyUnavailable("postgres")
    tasks = [world.begin() for _ in range(10)]
    await hold.began.wait()
    hold.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {DependencyUnavailable}
    assert await world.version() == 0
