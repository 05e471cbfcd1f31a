"""Look-ups are answered from memory, and many at once by one read."""

from __future__ import annotations

import asyncio

from tests.unit.gateway.cache.world import CODE, World


async def test_second_look_up_is_answered_from_memory(world: World) -> None:
    link = world.store.write(1)
    assert await world.cache.lookup(CODE) is link
    assert await world.cache.lookup(CODE) is link
    assert world.store.reads == [CODE]
    assert (world.counted("miss"), world.counted("hit"), world.counted("coalesced")) == (1, 1, 0)


async def test_codes_do_not_mix(world: World) -> None:
    world.store.write(1, "one1111", "https://one.example/")
    world.store.write(1, "two2222", "https://two.example/")
    for _ in range(2):
        found = [await world.cache.lookup(code) for code in ("one1111", "two2222", "ONE1111")]
        assert [link.url if link else None for link in found] == ["https://one.example/", "https://two.example/", None]


async def test_unknown_code_is_remembered_for_less_than_a_second(world: World) -> None:
    assert await world.version() == 0
    world.store.write(1)
    world.time.now += 0.999
    assert await world.version() == 0
    assert world.counted("negative") == 1
    world.time.now += 0.001
    assert await world.version() == 1
    assert world.store.reads == [CODE, CODE]


async def test_time_of_a_slow_read_counts_against_the_second(world: World) -> None:
    hold = world.store.hold()
    first = world.begin()
    await hold.began.wait()
    world.store.write(1)
    world.time.now += 1.0
    hold.go.set()
    assert await first == 0
    assert await world.version() == 1


async def test_hundred_look_ups_at_once_are_one_read(world: World) -> None:
    world.store.write(1)
    hold = world.store.hold()
    tasks = [world.begin() for _ in range(100)]
    await hold.began.wait()
    hold.go.set()
    assert await asyncio.gather(*tasks) == [1] * 100
    assert world.store.reads == [CODE]
    assert (world.counted("miss"), world.counted("coalesced")) == (1, 99)


async def test_hundred_look_ups_of_an_unknown_code_are_one_read(world: World) -> None:
    hold = world.store.hold()
    tasks = [world.begin() for _ in range(100)]
    await hold.began.wait()
    hold.go.set()
    assert await asyncio.gather(*tasks) == [0] * 100
    assert world.store.reads == [CODE]
