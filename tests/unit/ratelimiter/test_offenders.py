"""Who is refused most: the sketch's bounds, and that it forgets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimiter.handlers import DecisionRecord
from ratelimiter.offenders import MAX_TEXT, Offenders, SpaceSaving
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from tests.support.limiter import START_US, Limiter
from waypost.model import LimitEntry

MINUTE_US = 60_000_000

RULES = """
domain: test
descriptors:
  - key: route
    value: create
    descriptors:
      - {key: address, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}
"""


@settings(deadline=None)
@given(st.integers(1, 8), st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.integers(1, 5)), max_size=200))
def test_counts_are_never_too_small_and_at_most_their_error_too_large(
    capacity: int, stream: list[tuple[str, int]]
) -> None:
    sketch, true = SpaceSaving(capacity), Counter[str]()
    for text, hits in stream:
        sketch.add(text, hits)
        true[text] += hits
    counts = sketch.counts()
    assert len(counts) <= capacity
    total = sum(true.values())
    for text, (count, error) in counts.items():
        assert count - error <= true[text] <= count
        assert error <= total / capacity
    assert sum(count for count, _ in counts.values()) == total
    # Who has more than that share is found.
    assert {text for text, count in true.items() if count > total / capacity} <= counts.keys()


def test_a_flood_of_strangers_hides_nobody() -> None:
    sketch = SpaceSaving(100)
    for number in range(20_000):
        sketch.add(f"stranger {number}")
        if number % 20 == 0:
            sketch.add("regular")
    counts = sketch.counts()
    assert len(counts) == 100
    assert max(counts, key=lambda text: counts[text]) == "regular"
    assert counts["regular"][0] - counts["regular"][1] <= 1000 <= counts["regular"][0]


class World:
    """Offenders of a limiter."""

    def __init__(self) -> None:
        self.limiter = Limiter(RULES)
        self.offenders = Offenders(lambda: self.limiter.now_us, window_us=10 * MINUTE_US)

    async def check(self, address: str, owner: str = "", hits: int = 1, key: str = "address") -> None:
        entries = (LimitEntry("route", "create"), LimitEntry("address", address))
        descriptor = Descriptor(entries if key == "address" else (LimitEntry(key, address),))
        request = LimitRequest("test", (descriptor,), hits, owner)
        self.offenders.on_decision(DecisionRecord(request, await self.limiter.checker.check(request)))

    def top(self) -> list[tuple[str, int]]:
        return [(one.name, one.count) for one in self.offenders.top()]


async def test_refusals_are_counted_by_rule_and_values() -> None:
    world = World()
    for _ in range(3):
        await world.check("192.0.2.7")
    for _ in range(2):
        await world.check("192.0.2.8", owner="w1")
        await world.check("192.0.2.9", key="shadow")
    assert world.top() == [
        ("test.route_create.address: route=create, address=192.0.2.7", 2),
        ("test.route_create.address workspace=w1: route=create, address=192.0.2.8", 1),
    ]


async def test_what_is_older_than_the_window_is_forgotten() -> None:
    world = World()
    begin_us = world.limiter.now_us = START_US // (5 * MINUTE_US) * 5 * MINUTE_US + 5 * MINUTE_US
    await world.check("a", hits=2)
    world.limiter.now_us += 5 * MINUTE_US
    await world.check("a", hits=2)
    await world.check("b", hits=2)
    name = "test.route_create.address: route=create, address="
    assert world.top() == [(f"{name}a", 2), (f"{name}b", 1)]
    world.limiter.now_us = begin_us + 10 * MINUTE_US
    assert world.top() == [(f"{name}a", 1), (f"{name}b", 1)]
    world.limiter.now_us = begin_us + 15 * MINUTE_US
    assert world.top() == []
    await world.check("b", hits=2)
    world.limiter.now_us = begin_us + 60 * MINUTE_US
    assert world.top() == []


@pytest.mark.parametrize("length", [10, 4096])
async def test_the_page_is_bounded_and_masks_credentials(length: int) -> None:
    world = World()
    secret = "wp_0123456789abcdef.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    await world.check(secret, hits=2)
    await world.check("x" * length, hits=2)
    page = world.offenders.page()
    assert page["window_seconds"] == [300, 600]
    assert secret not in str(page)
    assert "wp_0123456789abcdef.***" in str(page)
    assert all(len(one.name) <= MAX_TEXT for one in world.offenders.top())


async def test_the_counter_of_an_override_is_told_by_the_entries() -> None:
    world = World()
    entry = (LimitEntry("none", "x"),)
    request = LimitRequest("test", (Descriptor(entry, override=LimitNumbers(0, MINUTE_US)),))
    world.offenders.on_decision(DecisionRecord(request, await world.limiter.checker.check(request)))
    assert world.top() == [("test.none_x: none=x", 1)]
