"""Callers who go away take nobody along and leave no exception unheard."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.waiting import turn
from tests.unit.gateway.cache.world import CODE, World, unheard
from waypost.errors import DependencyUnavailable


async def test_caller_who_goes_away_takes_nobody_along(world: World) -> None:
    world.store.write(1)
    hold = world.store.hold()
    tasks = [world.begin() for _ in range(3)]
    await hold.began.wait()
    tasks[0].cancel()  # the one that began the read
    await turn()
    assert tasks[0].cancelled()
    hold.go.set()
    assert await asyncio.gather(*tasks[1:]) == [1, 1]
    assert world.store.reads == [CODE]


async def test_read_goes_on_when_all_callers_have_gone(world: World) -> None:
    world.store.write(1)
    hold = world.store.hold()
    task = world.begin()
    await hold.began.wait()
    task.cancel()
    await turn()
    hold.go.set()
    await turn()
    assert await world.version() == 1
    assert world.store.reads == [CODE]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_failed_read_without_callers_is_no_unheard_exception(world: World) -> None:
    async def work() -> None:
        hold = world.store.hold()
        hold.error = DependencyUnavailable("postgres")
        tasks = [world.begin() for _ in range(2)]
        await hold.began.wait()
        for task in tasks:
            task.cancel()
        await turn()
        hold.go.set()
        await turn()
        assert asyncio.all_tasks() - {asyncio.current_task()} == set()

    assert await unheard(work()) == []


async def test_failed_read_with_some_callers_gone_is_no_unheard_exception(world: World) -> None:
    async def work() -> None:
        hold = world.store.hold()
        hold.error = DependencyUnavailable("postgres")
        gone, there = world.begin(), world.begin()
        await hold.began.wait()
        gone.cancel()
        await turn()
        hold.go.set()
        with pytest.raises(DependencyUnavailable):
            await there

    assert await unheard(work()) == []
