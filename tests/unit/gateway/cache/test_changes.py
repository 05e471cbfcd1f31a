"""Whoever asks after a change was told, or was made here, never gets an older link."""

from __future__ import annotations

import pytest

from tests.support.waiting import turn
from tests.unit.gateway.cache.world import CODE, World
from waypost.errors import DependencyUnavailable

# Changes


async def test_change_is_read_again(world: World) -> None:
    world.store.write(1)
    assert await world.version() == 1
    world.told(2)
    assert await world.version() == 2


async def test_unknown_code_is_asked_again_after_a_change(world: World) -> None:
    assert await world.version() == 0
    world.told(2)
    assert await world.version() == 2


async def test_news_of_what_is_known_already_costs_nothing(world: World) -> None:
    world.store.write(3)
    assert await world.version() == 3
    for version in (3, 2, 1):
        world.cache.invalidate(CODE, version)
    assert await world.version() == 3
    assert world.store.reads == [CODE]


async def test_read_overtaken_by_a_change_is_done_again(world: World) -> None:
    world.store.write(1)
    hold = world.store.hold()
    before = world.begin()
    await hold.began.wait()
    world.told(2)
    after = world.begin()
    await turn()
    hold.go.set()
    # Nobody sees the old target, not even who asked before the change.
    assert [await before, await after, await world.version()] == [2, 2, 2]
    assert world.store.reads == [CODE, CODE]
    assert world.sample("cache_poisoned_reads_total") == 1


async def test_two_changes_in_a_row_overtake_two_reads(world: World) -> None:
    world.store.write(1)
    first, second = world.store.hold(), world.store.hold()
    task = world.begin()
    await first.began.wait()
    world.told(2)
    first.go.set()
    await second.began.wait()
    world.told(3)
    second.go.set()
    assert [await task, await world.version()] == [3, 3]
    assert len(world.store.reads) == 3


async def test_two_changes_told_during_one_read_need_the_newer(world: World) -> None:
    world.store.write(1)
    hold = world.store.hold()
    task = world.begin()
    await hold.began.wait()
    world.told(3)
    world.cache.invalidate(CODE, 2)  # comes late
    hold.go.set()
    assert [await task, len(world.store.reads)] == [3, 2]


async def test_read_that_has_seen_the_change_is_good(world: World) -> None:
    world.store.write(2)
    hold = world.store.hold()
    task = world.begin()
    await hold.began.wait()
    world.cache.invalidate(CODE, 2)
    hold.go.set()
    assert [await task, await world.version()] == [2, 2]
    assert world.store.reads == [CODE]


async def test_change_of_another_link_does_not_disturb_a_read(world: World) -> None:
    world.store.write(1)
    hold = world.store.hold()
    task = world.begin()
    await hold.began.wait()
    world.told(2, "other12")
    hold.go.set()
    assert [await task, len(world.store.reads)] == [1, 1]


async def test_store_that_was_set_back_is_believed_after_one_more_read(world: World) -> None:
    """A change that is told and then lost with a failed server must not keep a read going round for ever."""
    world.store.write(1)
    hold = world.store.hold()
    task = world.begin()
    await hold.began.wait()
    world.cache.invalidate(CODE, 2)
    hold.go.set()
    assert await task == 1
    assert len(world.store.reads) == 2


async def test_overtaken_read_that_fails_then_gives_nothing_old(world: World) -> None:
    world.store.write(1)
    assert await world.version() == 1
    world.feed.gap()
    first, second = world.store.hold(), world.store.hold()
    task = world.begin()
    await first.began.wait()
    world.told(2)
    first.go.set()
    second.error = DependencyUnavailable("postgres")
    second.go.set()
    with pytest.raises(DependencyUnavailable):
        await task


# What this process commits


async def test_created_link_is_known_without_a_read(world: World) -> None:
    world.create()
    assert await world.version() == 1
    assert world.store.reads == []


async def test_created_link_is_known_though_its_code_was_just_unknown(world: World) -> None:
    assert await world.version() == 0
    world.create()
    assert await world.version() == 1
    assert len(world.store.reads) == 1


async def test_read_overtaken_by_a_create_is_done_again(world: World) -> None:
    hold = world.store.hold()
    before = world.begin()
    await hold.began.wait()
    world.create()
    assert await world.version() == 1
    hold.go.set()
    assert [await before, await world.version()] == [1, 1]
    assert len(world.store.reads) == 2


async def test_create_that_comes_back_after_the_next_change_was_told_is_not_kept(world: World) -> None:
    since = world.cache.mark()
    created = world.store.write(1)
    world.told(2)
    world.cache.put(created, since)
    assert await world.version() == 2


async def test_create_that_comes_back_after_a_gap_is_asked_for_again(world: World) -> None:
    since = world.cache.mark()
    created = world.store.write(1)
    world.store.write(2)  # nobody hears of it
    world.feed.gap()
    world.cache.put(created, since)
    assert await world.version() == 2


async def test_late_create_never_takes_the_place_of_something_newer(world: World) -> None:
    since = world.cache.mark()
    created = world.store.write(1)
    world.store.write(2)
    assert await world.version() == 2
    world.cache.put(created, since)
    assert await world.version() == 2
    world.feed.gap()
    assert await world.version() == 2
    world.cache.put(created, since)
    world.feed.stop()
    world.store.error = DependencyUnavailable("postgres")
    world.time.now += 1
    assert await world.version() == 2


async def test_older_answer_of_the_store_neither_replaces_what_is_newer_nor_is_given(world: World) -> None:
    world.store.write(2)
    assert await world.version() == 2
    world.feed.stop()
    world.time.now += 1
    world.store.write(1)
    assert [await world.version(), await world.version()] == [2, 2]
