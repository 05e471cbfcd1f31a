"""After a gap in the feed, and without a young heartbeat, the store is asked."""

from __future__ import annotations

import pytest

from tests.unit.gateway.cache.world import World
from waypost.errors import DependencyUnavailable


async def test_after_a_gap_each_entry_is_asked_for_once(world: World) -> None:
    for code in ("one1111", "two2222"):
        world.store.write(1, code)
        await world.version(code)
    world.store.write(2, "one1111")
    world.feed.gap()
    for _ in range(2):
        assert [await world.version("one1111"), await world.version("two2222")] == [2, 1]
    assert world.store.reads == ["one1111", "two2222"] * 2


async def test_gap_during_a_read_makes_it_worthless(world: World) -> None:
    world.store.write(1)
    hold = world.store.hold()
    before = world.begin()
    await hold.began.wait()
    world.store.write(2)
    world.feed.gap()
    after = world.begin()
    hold.go.set()
    # The second one came after the gap was known: it must not get what was read before.
    assert [await before, await after, await world.version()] == [2, 2, 2]
    assert len(world.store.reads) == 2


async def test_after_a_gap_an_older_version_is_believed_and_kept(world: World) -> None:
    """A server restored from a copy has lost changes; what it says now is the truth, and is not asked for each time."""
    world.store.write(5)
    assert await world.version() == 5
    world.store.write(4)
    world.feed.gap()
    assert [await world.version(), await world.version()] == [4, 4]
    assert len(world.store.reads) == 2


async def test_after_a_gap_a_link_that_is_no_more_is_forgotten(world: World) -> None:
    world.store.write(1)
    assert await world.version() == 1
    world.store.links.clear()
    world.feed.gap()
    assert [await world.version(), await world.version()] == [0, 0]
    assert len(world.store.reads) == 2
    world.time.now += 1
    world.store.error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.version()


async def test_without_a_young_heartbeat_the_store_is_asked(world: World) -> None:
    world.store.write(1)
    await world.version()
    world.feed.stop()
    world.store.write(2)
    world.time.now += 0.899
    assert await world.version() == 1
    world.time.now += 0.002
    assert await world.version() == 2
    assert await world.version() == 2
    assert len(world.store.reads) == 3


async def test_entry_is_good_again_when_the_heartbeat_comes_back_without_a_gap(world: World) -> None:
    world.store.write(1)
    await world.version()
    world.feed.stop()
    world.time.now += 5
    world.feed.stopped_at = None
    assert await world.version() == 1
    assert len(world.store.reads) == 1


async def test_feed_that_never_came_up_vouches_for_nothing(world: World) -> None:
    world.feed.epoch, world.feed.stopped_at = 0, float("-inf")
    world.store.write(1)
    for _ in range(3):
        assert await world.version() == 1
    assert len(world.store.reads) == 3
