"""The cache keeps to its bound in bytes, whoever asks for whatever."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.unit.gateway.cache.world import World, redirect


async def test_least_recently_used_goes_first() -> None:
    world = World(max_bytes=3 * 800)
    codes = ["one1111", "two2222", "three33"]
    for code in (*codes, "four444"):
        world.store.write(1, code)
    for code in codes:
        await world.version(code)
    await world.version("one1111")
    await world.version("four444")
    assert world.sample("cache_entries") == 3
    world.store.reads.clear()
    for code in ("one1111", "three33", "four444"):
        await world.version(code)
    assert world.store.reads == []
    await world.version("two2222")
    assert world.store.reads == ["two2222"]


async def test_entries_are_counted_by_their_bytes() -> None:
    world = World(max_bytes=10_000)
    for number in range(5):
        world.store.write(1, f"code{number:04}", "https://example.org/" + "x" * 4000)
        await world.version(f"code{number:04}")
    assert world.sample("cache_entries") == 2
    assert world.sample("cache_bytes") <= 10_000
    # One character outside of Latin-1 makes each character of a text take two bytes, or four.
    world.store.write(1, "wide123", "https://example.org/" + "x" * 2200 + "\U0001f600")
    await world.version("wide123")
    assert world.sample("cache_entries") == 1


async def test_entry_larger_than_the_cache_is_answered_but_not_kept() -> None:
    world = World(max_bytes=1000)
    world.store.write(1, url="https://example.org/" + "x" * 4000)
    assert [await world.version(), await world.version()] == [1, 1]
    assert len(world.store.reads) == 2
    assert world.sample("cache_entries") == 0
    assert world.sample("cache_bytes") == 0


async def test_count_of_bytes_comes_back_to_nothing(world: World) -> None:
    for number in range(50):
        code = f"code{number:04}"
        if number % 3:
            world.store.write(1, code)
        await world.version(code)
        world.feed.gap()
        await world.version(code)
    for number in range(50):
        world.cache.invalidate(f"code{number:04}", 9)
    world.store.write(1)
    await world.version()
    assert world.sample("cache_entries") == 1
    assert world.sample("cache_bytes") == pytest.approx(750, abs=100)


async def test_trying_out_codes_pushes_no_link_out() -> None:
    world = World(max_bytes=200_000)
    world.store.write(1)
    await world.version()
    for number in range(5000):
        await world.version(f"scan{number}")
        world.time.now += 0.01
    assert world.sample("cache_entries") <= 102
    world.store.reads.clear()
    assert await world.version() == 1
    assert world.store.reads == []


async def test_unknown_codes_keep_to_the_bound_too() -> None:
    world = World(max_bytes=10_000)
    for number in range(500):
        await world.version(f"scan{number}")
    assert world.sample("cache_entries") <= 50
    assert world.sample("cache_bytes") <= 10_000
    world.store.reads.clear()
    await world.version("scan499")
    assert world.store.reads == []


@pytest.mark.parametrize("known", [True, False])
async def test_memory_is_no_more_than_what_is_counted(known: bool) -> None:
    world = World(max_bytes=100_000_000)
    number = 5000

    async def fill() -> None:
        for i in range(number):
            code = f"c{i:06}"
            if known:
                url = f"https://example.org/{i}/" + "x" * 100
                expiry = datetime(2030, 1, 1, microsecond=i, tzinfo=UTC)
                world.store.links[code] = replace(redirect(1, code, url), expires_at=expiry)
            await world.cache.lookup(code)
            # What the store and the fake keep is none of the cache's.
            world.store.links.clear()
            world.store.reads.clear()

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await fill()
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = world.sample("cache_bytes")
    assert world.sample("cache_entries") == number
    assert counted / 2 < used < counted
