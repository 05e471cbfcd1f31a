"""The redirect cache: few reads, bounded memory, and never an older link than the one that was told of."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.cache import CacheMetrics, Mark, RedirectCache
from waypost.errors import DependencyUnavailable
from waypost.model import Redirect

CODE = "abc1234"
MAX_STALE = 600.0
MADE = datetime(2026, 6, 1, tzinfo=UTC)


class Hold:
    """Keeps one read from ending; what it will answer was settled when it began."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None


class Store:
    """The truth, as `RedirectReader`."""

    def __init__(self) -> None:
        self.links: dict[str, Redirect] = {}
        self.reads: list[str] = []
        self.holds: list[Hold] = []
        self.error: Exception | None = None

    def hold(self) -> Hold:
        """The next read that nobody holds yet will be held."""
        self.holds.append(Hold())
        return self.holds[-1]

    def write(self, version: int, short_code: str = CODE, url: str | None = None) -> Redirect:
        """Makes this the version of a link."""
        self.links[short_code] = redirect(version, short_code, url)
        return self.links[short_code]

    async def read_redirect(self, short_code: str) -> Redirect | None:
        self.reads.append(short_code)
        seen, error = self.links.get(short_code), self.error
        if self.holds:
            hold = self.holds.pop(0)
            hold.began.set()
            await hold.go.wait()
            error = hold.error
        if error is not None:
            raise error
        return seen


class Feed:
    """A change feed that is well until a test says otherwise."""

    def __init__(self, time: Time) -> None:
        self.epoch = 1
        self.stopped_at: float | None = None
        self._time = time

    @property
    def last_heartbeat(self) -> float:
        return self._time.now if self.stopped_at is None else self.stopped_at

    def stop(self) -> None:
        """No heartbeat from now on."""
        self.stopped_at = self._time.now

    def gap(self) -> None:
        """A new connection."""
        self.epoch += 1
        self.stopped_at = None


class Time:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A cache with everything around it."""

    def __init__(self, max_bytes: int = 1_000_000, max_stale: float = MAX_STALE) -> None:
        self.time = Time()
        self.store = Store()
        self.feed = Feed(self.time)
        self.registry = CollectorRegistry()
        self.cache = RedirectCache(
            self.store,
            self.feed,
            CacheMetrics(self.registry),
            max_bytes=max_bytes,
            max_stale=max_stale,
            monotonic=self.time,
        )

    async def version(self, short_code: str = CODE) -> int:
        """The version that a look-up gives; 0: no such link."""
        found = await self.cache.lookup(short_code)
        return found.version if found is not None else 0

    def begin(self, short_code: str = CODE) -> asyncio.Task[int]:
        """A look-up in a task of its own."""
        return asyncio.create_task(self.version(short_code))

    def create(self, short_code: str = CODE) -> None:
        """What a create of this process does."""
        since = self.cache.mark()
        self.cache.put(self.store.write(1, short_code), since)

    def told(self, version: int, short_code: str = CODE) -> None:
        """A link changes, and the feed says so."""
        self.store.write(version, short_code)
        self.cache.invalidate(short_code, version)

    def sample(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def counted(self, result: str) -> float:
        """How many look-ups had this result."""
        return self.sample("cache_requests_total", result=result)


def redirect(version: int = 1, short_code: str = CODE, url: str | None = None) -> Redirect:
    url = url or f"https://example.org/{version}"
    return Redirect(short_code, url, 302, version, blocked=False, deleted=False, expires_at=None, created_at=MADE)


@pytest.fixture
def world() -> World:
    return World()


async def turn() -> None:
    """Lets everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def unheard(work: Coroutine[Any, Any, None]) -> list[str]:
    """What the loop complains of while `work` runs: exceptions that nobody has looked at."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    await work
    await turn()
    gc.collect()
    return complaints


# Hits and misses


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


# Gaps and heartbeats


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


# Store away


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


# Callers who go away


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


# Memory


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


# Everything at once


class Held(Store):
    """A store that answers only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Hold] = []

    async def read_redirect(self, short_code: str) -> Redirect | None:
        self.held.append(self.hold())
        return await super().read_redirect(short_code)

    def let_go(self, number: int, error: Exception | None = None) -> None:
        """Ends one read."""
        hold = self.held.pop(number % len(self.held))
        hold.error = error
        hold.go.set()


class Interleavings:
    """A cache and a model of what it may answer; each step is something that can happen at any time."""

    CODES = ("one1111", "two2222")
    BOUND = 5.0
    STEPS = {
        "create": 2,
        "create_comes_back": 4,
        "change": 8,
        "tell": 10,
        "heartbeat": 8,
        "lose_line": 1,
        "new_line": 2,
        "look_up": 20,
        "read_ends": 14,
        "read_fails": 3,
        "caller_leaves": 2,
        "time_passes": 4,
    }

    def __init__(self, random: Random) -> None:
        self.random = random
        self.time = Time()
        self.feed = Feed(self.time)
        self.feed.stop()
        self.store = Held()
        self.cache = RedirectCache(
            self.store,
            self.feed,
            CacheMetrics(CollectorRegistry()),
            max_bytes=1_000_000,
            max_stale=self.BOUND,
            monotonic=self.time,
        )
        # When each version was committed; versions are told by notifications, in order, unless the line is cut.
        self.commits: dict[str, list[float]] = {code: [] for code in self.CODES}
        self.told = dict.fromkeys(self.CODES, 0)
        self.known = dict.fromkeys(self.CODES, 0)
        self.line: list[tuple[str, int]] = []
        self.cut = False
        self.writes: list[tuple[Redirect, Mark]] = []
        self.running: list[tuple[str, int, int, asyncio.Task[Redirect | None]]] = []
        self.steps: list[str] = []

    async def run(self, number: int) -> None:
        """Takes steps, then lets everything come to its end."""
        self.commit(self.CODES[0])
        names, weights = list(self.STEPS), list(self.STEPS.values())
        for step in self.random.choices(names, weights, k=number):
            self.steps.append(step)
            await getattr(self, step)()
            await self.check()
        while self.store.held:
            await self.read_ends()
            await self.check()
        assert self.running == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def code(self) -> str:
        """One of the codes."""
        code = self.random.choice(self.CODES)
        self.steps[-1] += f" {code}"
        return code

    def commit(self, code: str) -> Redirect:
        """A new version of a link."""
        self.commits[code].append(self.time.now)
        return self.store.write(len(self.commits[code]), code)

    async def create(self) -> None:
        """Commits, but the process hears of it only later; creates are told nobody."""
        code = self.code()
        if not self.commits[code]:
            since = self.cache.mark()
            self.writes.append((self.commit(code), since))

    async def create_comes_back(self) -> None:
        if self.writes:
            link, since = self.writes.pop(0)
            self.cache.put(link, since)
            self.told[link.short_code] = max(self.told[link.short_code], 1)

    async def change(self) -> None:
        code = self.code()
        if self.commits[code]:
            version = self.commit(code).version
            if not self.cut:
                self.line.append((code, version))

    async def tell(self) -> None:
        if self.line:
            code, version = self.line.pop(0)
            self.cache.invalidate(code, version)
            self.told[code] = max(self.told[code], version)

    async def heartbeat(self) -> None:
        """Comes after everything that was told before it."""
        while self.line:
            await self.tell()
        if not self.cut:
            self.feed.stop()

    async def lose_line(self) -> None:
        self.cut = True
        self.line.clear()

    async def new_line(self) -> None:
        """The epoch rises: who can ask now must ask."""
        if self.cut:
            self.cut = False
            self.feed.epoch += 1
            self.known = {code: len(times) for code, times in self.commits.items()}

    async def look_up(self) -> None:
        code = self.code()
        told, floor = self.told[code], max(self.told[code], self.known[code])
        task = asyncio.create_task(self.cache.lookup(code))
        await asyncio.sleep(0)
        if task.done():
            # Answered from memory: nothing in there may be older than a second. That there is no link, a gap leaves.
            floor = told if task.result() is None else floor
            floor = max(floor, sum(at < self.time.now - 1.0 for at in self.commits[code]))
        self.running.append((code, told, floor, task))

    async def read_ends(self) -> None:
        if self.store.held:
            self.store.let_go(self.random.randrange(len(self.store.held)))

    async def read_fails(self) -> None:
        if not self.store.held:
            return
        self.store.let_go(self.random.randrange(len(self.store.held)), DependencyUnavailable("postgres"))
        for code, version in await self.check(answered=False):
            ended = self.commits[code][version] if version < len(self.commits[code]) else None
            assert ended is None or ended >= self.time.now - self.BOUND, f"stale for too long: {self.steps}"

    async def caller_leaves(self) -> None:
        if self.running:
            *_, task = self.running.pop(self.random.randrange(len(self.running)))
            task.cancel()

    async def time_passes(self) -> None:
        self.time.now += self.random.choice([0.1, 0.5, 1.0, 3.0])

    async def check(self, answered: bool = True) -> list[tuple[str, int]]:
        """Looks at the look-ups that are done; returns what those gave that did not fail.

        Not `answered`: by the store. Then what was missed in a gap cannot be known, but what was told is.
        """
        await turn()
        answers = []
        for one in [one for one in self.running if one[-1].done()]:
            self.running.remove(one)
            code, told, floor, task = one
            least = floor if answered else told
            if task.exception() is None:
                found = task.result()
                version = found.version if found is not None else 0
                assert version >= least, f"{code}: {version} after {least} was told: {self.steps}"
                answers.append((code, version))
            else:
                assert isinstance(task.exception(), DependencyUnavailable)
        return answers


@pytest.mark.parametrize("seed", range(20))
async def test_look_up_that_begins_after_a_change_was_told_never_gives_an_older_version(seed: int) -> None:
    """Whatever happens in whatever order; a seed that fails gives its steps."""

    async def work() -> None:
        random = Random(seed)
        for _ in range(5):
            await Interleavings(random).run(200)

    assert await unheard(work()) == []
