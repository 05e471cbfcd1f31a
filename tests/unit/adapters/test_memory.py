"""The limiter in memory: a bucket for each set of descriptors, by a clock that is handed in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from waypost.adapters import memory
from waypost.adapters.memory import MemoryLimiter
from waypost.model import Budget, LimitDecision, LimitEntry

MINUTE = 60_000_000


class Time:
    """Microseconds that tests move."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def by_address(address: str, route_class: str = "create") -> list[LimitEntry]:
    return [LimitEntry("route_class", route_class), LimitEntry("remote_address", address)]


def refused(remaining: int = 0) -> LimitDecision:
    """The answer to one hit too many, in a bucket of `World`'s."""
    return LimitDecision(False, "local", 10.0, budget=Budget(6, 60.0, remaining, 10.0))


class World:
    """A limiter of six a minute: one hit comes back every ten seconds."""

    def __init__(self, per_minute: int = 6, capacity: int = 1000) -> None:
        self.time = Time()
        self.limiter = MemoryLimiter(per_minute, self.time, capacity)

    async def check(self, *descriptors: Sequence[LimitEntry], hits: int = 1, domain: str = "waypost") -> LimitDecision:
        return await self.limiter.check(domain, descriptors or [by_address("192.0.2.7")], hits)

    async def spend(self, number: int) -> None:
        """Admits this many."""
        for _ in range(number):
            assert (await self.check()).allowed


async def test_as_many_at_once_as_in_a_minute() -> None:
    world = World()
    await world.spend(6)
    assert await world.check() == refused()


async def test_who_waits_as_told_is_admitted_and_no_sooner() -> None:
    world = World()
    await world.spend(6)
    world.time.now += 3_000_000
    assert (await world.check()).retry_after == 7.0
    world.time.now += 6_999_999
    assert not (await world.check()).allowed
    world.time.now += 1
    await world.spend(1)
    assert not (await world.check()).allowed


async def test_refusals_cost_nothing() -> None:
    world = World()
    await world.spend(6)
    for _ in range(100):
        assert not (await world.check()).allowed
    world.time.now += MINUTE
    await world.spend(6)
    assert not (await world.check()).allowed


async def test_bucket_holds_no_more_after_a_long_time() -> None:
    world = World()
    world.time.now += 1000 * MINUTE
    await world.spend(6)
    assert not (await world.check()).allowed


async def test_several_hits() -> None:
    world = World()
    assert (await world.check(hits=4)).allowed
    assert await world.check(hits=3) == refused(remaining=2)
    assert (await world.check(hits=2)).allowed


async def test_more_hits_than_the_bucket_holds_take_a_full_one() -> None:
    world = World()
    assert (await world.check(hits=1)).allowed
    assert await world.check(hits=7) == refused(remaining=5)
    world.time.now += MINUTE
    assert (await world.check(hits=1000)).allowed
    assert await world.check(hits=1) == refused()


async def test_callers_do_not_share() -> None:
    world = World()
    await world.spend(6)
    assert (await world.check(by_address("192.0.2.8"))).allowed
    assert (await world.check(by_address("192.0.2.7", "delete"))).allowed
    assert (await world.check(domain="other")).allowed


async def test_keys_and_values_do_not_run_together() -> None:
    world = World()
    for _ in range(6):
        await world.check([LimitEntry("ab", "c")])
    assert not (await world.check([LimitEntry("ab", "c")])).allowed
    for entries in ([LimitEntry("a", "bc")], [LimitEntry("abc", "")], [LimitEntry("ab", "c"), LimitEntry("", "")]):
        assert (await world.check(entries)).allowed


async def test_all_descriptors_are_charged_or_none() -> None:
    world = World()
    full, empty = by_address("192.0.2.1"), by_address("192.0.2.2")
    for _ in range(6):
        await world.check(empty)
    for order in ((full, empty), (empty, full)):
        for _ in range(10):
            assert not (await world.check(*order)).allowed
    for _ in range(6):
        assert (await world.check(full)).allowed
    assert not (await world.check(full)).allowed


async def test_memory_is_bounded_and_nobody_is_forgiven() -> None:
    world = World(capacity=50)
    for number in range(50):
        for _ in range(6):
            await world.check(by_address(f"10.0.0.{number}"))
    admitted = 0
    for number in range(1000):
        admitted += (await world.check(by_address(f"10.1.{number // 250}.{number % 250}"))).allowed
    assert admitted <= 6
    for number in range(50):
        assert not (await world.check(by_address(f"10.0.0.{number}"))).allowed


async def test_a_key_that_is_asked_twice_at_once_needs_enough_for_both() -> None:
    world = World()
    await world.spend(5)
    assert not (await world.check(by_address("192.0.2.7"), by_address("192.0.2.7"))).allowed
    await world.spend(1)
    assert await world.check() == refused()


async def test_time_of_day_is_of_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set back by an hour, a clock would keep each bucket empty for an hour."""
    steady = Time()
    monkeypatch.setattr(memory, "SteadyClock", lambda: steady)
    limiter = MemoryLimiter(6)
    descriptors = [by_address("192.0.2.7")]
    assert (await limiter.check("waypost", descriptors, 6)).allowed
    assert (await limiter.check("waypost", descriptors)).retry_after == 10.0
    steady.now += 10_000_000
    assert (await limiter.check("waypost", descriptors)).allowed


@pytest.mark.parametrize("now", [0, 1, 10**18])
async def test_clock_may_begin_anywhere(now: int) -> None:
    world = World()
    world.time.now = now
    await world.spend(6)
    assert (await world.check()).retry_after == 10.0


async def test_decision_is_its_own() -> None:
    assert await World().check() == LimitDecision(True, "", 0.0, degraded=False)
