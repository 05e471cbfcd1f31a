"""The cache of credentials: no answer is older than its bound, whatever comes when; one read at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.service import captured_log
from waypost.access.fresh import FreshCache
from waypost.errors import DependencyUnavailable

MAX_AGE = 0.75
"""As `now` below, a number that has an exact half."""
SIZE = 3


@dataclass
class Read:
    """A read under way: what it saw when it began."""

    key: str
    value: int
    end: asyncio.Future[None]


@dataclass
class Store:
    """What is read: each key has a number that counts up. `held`: reads wait until the test ends them."""

    held: bool = False
    now: float = 128.0
    values: Counter[str] = field(default_factory=Counter)
    replaced: dict[tuple[str, int], float] = field(default_factory=dict)
    """When a value ceased to be the current one."""
    under_way: list[Read] = field(default_factory=list)
    begun: int = 0

    def change(self, key: str) -> None:
        self.replaced[key, self.values[key]] = self.now
        self.values[key] += 1

    async def read(self, key: str) -> int:
        assert key not in [read.key for read in self.under_way], "one read at a time"
        self.begun += 1
        # As late an answer as can be: of the instant at which the read began.
        value = self.values[key]
        if self.held:
            read = Read(key, value, asyncio.get_running_loop().create_future())
            self.under_way.append(read)
            try:
                await read.end
            finally:
                self.under_way.remove(read)
        return value

    def cache(self, size: int = SIZE) -> FreshCache[str, int]:
        return FreshCache(self.read, max_age=MAX_AGE, size=size, now=lambda: self.now)


async def turn() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class AnswersAreFresh(RuleBasedStateMachine):
    """Callers, changes, reads that end late, fail or never end, and a clock that goes on at any time."""

    keys = st.sampled_from(["a", "b", "c", "d", "e"])

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = Store(held=True)
        self.cache = self.store.cache()
        self.callers: list[asyncio.Task[None]] = []
        self.answers = 0

    def pump(self) -> None:
        self.runner.run(turn())

    async def _ask(self, key: str) -> None:
        try:
            value = await self.cache.get(key)
        except DependencyUnavailable:
            return
        self.answers += 1
        replaced = self.store.replaced.get((key, value))
        assert replaced is None or self.store.now - replaced < MAX_AGE, "older than it may be"

    @rule(seconds=st.sampled_from([0.0625, 0.125, 0.375, 0.5, 0.6875, 0.75, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.store.now += seconds

    @rule(key=keys)
    def changes(self, key: str) -> None:
        self.store.change(key)

    @rule(key=keys, many=st.integers(1, 3))
    def asks(self, key: str, many: int) -> None:
        async def begin() -> None:
            for _ in range(many):
                self.callers.append(asyncio.create_task(self._ask(key)))
            await turn()

        self.runner.run(begin())

    @precondition(lambda self: self.store.under_way)
    @rule(which=st.integers(0, 9), fails=st.sampled_from([False, False, True]))
    def a_read_ends(self, which: int, fails: bool) -> None:
        read = self.store.under_way[which % len(self.store.under_way)]
        if fails:
            read.end.set_exception(DependencyUnavailable("postgres"))
        else:
            read.end.set_result(None)
        self.pump()

    @precondition(lambda self: self.callers)
    @rule(which=st.integers(0, 9))
    def a_caller_leaves(self, which: int) -> None:
        self.callers[which % len(self.callers)].cancel()
        self.pump()

    @invariant()
    def nobody_was_told_what_is_too_old(self) -> None:
        done = [task for task in self.callers if task.done()]
        self.callers = [task for task in self.callers if not task.done()]
        for task in done:
            if not task.cancelled() and task.exception() is not None:
                raise AssertionError from task.exception()
        assert len(self.cache) <= SIZE

    def teardown(self) -> None:
        for read in list(self.store.under_way):
            read.end.cancel()
        for task in self.callers:
            task.cancel()
        self.pump()
        self.runner.close()


TestAnswersAreFresh = AnswersAreFresh.TestCase
TestAnswersAreFresh.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


async def test_what_is_revoked_is_seen_within_the_bound_by_who_asks_all_the_time() -> None:
    store = Store()
    cache = store.cache()
    assert await cache.get("a") == 0
    store.change("a")
    revoked_at, seen_at = store.now, None
    while seen_at is None:
        store.now += 0.0078125
        if await cache.get("a") == 1:
            seen_at = store.now
        await turn()
    # Well before: who asks often has it read anew past half of its age.
    assert seen_at - revoked_at <= MAX_AGE / 2 + 0.03


async def test_what_is_revoked_while_it_is_read_is_no_older_for_it() -> None:
    store = Store(held=True)
    cache = store.cache()
    first = asyncio.create_task(cache.get("a"))
    await turn()
    store.change("a")
    store.now += MAX_AGE
    store.under_way[0].end.set_result(None)
    await turn()
    assert not first.done(), "its answer is too old by now: it is read again"
    store.under_way[0].end.set_result(None)
    assert await first == 1


async def test_who_asks_at_the_same_time_shares_one_read() -> None:
    store = Store(held=True)
    cache = store.cache()
    callers = [asyncio.create_task(cache.get("a")) for _ in range(50)]
    await turn()
    assert store.begun == 1
    store.under_way[0].end.set_result(None)
    assert await asyncio.gather(*callers) == [0] * 50
    assert store.begun == 1


async def test_a_caller_who_leaves_takes_nobody_with_them() -> None:
    store = Store(held=True)
    cache = store.cache()
    first, second = (asyncio.create_task(cache.get("a")) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    assert store.begun == len(store.under_way) == 1
    store.under_way[0].end.set_result(None)
    assert await second == 0


async def test_who_asks_often_never_waits() -> None:
    store = Store()
    cache = store.cache()
    await cache.get("a")
    store.held = True
    store.now += MAX_AGE / 2 + 0.1
    assert await cache.get("a") == 0
    await turn()
    assert len(store.under_way) == 1, "read again in the background"
    assert await cache.get("a") == 0
    assert store.begun == 2
    store.change("a")
    store.under_way[0].end.set_result(None)
    await turn()
    store.now += MAX_AGE / 2
    assert await cache.get("a") == 0, "of the second read, which began before the change"
    await turn()
    for read in store.under_way:
        read.end.set_result(None)
    await turn()


async def test_what_is_young_is_not_read_again() -> None:
    store = Store()
    cache = store.cache()
    for _ in range(4):
        await cache.get("a")
        store.now += 0.1
        await turn()
    assert store.begun == 1


async def test_an_error_is_everybodys_who_waits_and_is_not_kept() -> None:
    store = Store(held=True)
    cache = store.cache()
    callers = [asyncio.create_task(cache.get("a")) for _ in range(3)]
    await turn()
    store.under_way[0].end.set_exception(DependencyUnavailable("postgres"))
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(one) for one in found] == [DependencyUnavailable] * 3
    store.held = False
    assert await cache.get("a") == 0
    assert store.begun == 2


async def test_while_the_store_is_away_what_is_known_counts_for_its_age_and_no_longer() -> None:
    store = Store()
    cache = store.cache()
    await cache.get("a")

    async def away(key: str) -> int:
        raise DependencyUnavailable("postgres")

    cache._read = away
    store.now += MAX_AGE - 0.0625
    assert await cache.get("a") == 0
    await turn()
    store.now += 0.0625
    with pytest.raises(DependencyUnavailable):
        await cache.get("a")
    assert cache.last("a") == 0, "known, for what does not depend on its age"


async def test_a_store_that_is_always_too_slow_is_away_after_some_tries() -> None:
    store = Store()

    async def slow(key: str) -> int:
        store.now += MAX_AGE
        return await store.read(key)

    cache = FreshCache(slow, max_age=MAX_AGE, size=SIZE, now=lambda: store.now)
    with pytest.raises(DependencyUnavailable):
        await cache.get("a")
    assert store.begun == 3


async def test_a_defect_in_the_background_is_logged_and_an_absence_is_not() -> None:
    for error, logged in ((DependencyUnavailable("postgres"), 0), (ZeroDivisionError(), 1)):
        store = Store()
        cache = store.cache()
        await cache.get("a")

        async def failing(key: str, error: Exception = error) -> int:
            raise error

        cache._read = failing
        store.now += MAX_AGE / 2 + 0.1
        with captured_log() as log:
            assert await cache.get("a") == 0
            await turn()
            assert len(log.of("reading credentials failed")) == logged


async def test_of_more_than_fit_the_least_recently_used_goes() -> None:
    store = Store()
    cache = store.cache(size=2)
    for key in "abac":
        await cache.get(key)
    assert len(cache) == 2
    assert (cache.last("a"), cache.last("b"), cache.last("c")) == (0, None, 0)


async def test_a_read_that_waits_for_its_turn_is_as_young_as_its_beginning() -> None:
    store, go = Store(), asyncio.Event()

    @asynccontextmanager
    async def turn_of(key: str) -> AsyncIterator[None]:
        await go.wait()
        yield

    cache = FreshCache(store.read, max_age=MAX_AGE, size=SIZE, now=lambda: store.now, turn=turn_of)
    caller = asyncio.create_task(cache.get("a"))
    await turn()
    assert cache.reading("a")
    store.now += 10 * MAX_AGE
    store.change("a")
    go.set()
    assert await caller == 1
    assert (store.begun, cache.reading("a")) == (1, False)


async def test_what_is_not_to_be_kept_is_read_for_who_asks_just_now() -> None:
    store = Store(held=True)
    cache = FreshCache(store.read, max_age=MAX_AGE, size=SIZE, now=lambda: store.now, keeps=lambda value: value > 0)
    callers = [asyncio.create_task(cache.get("a")) for _ in range(3)]
    await turn()
    store.under_way[0].end.set_result(None)
    assert await asyncio.gather(*callers) == [0, 0, 0]
    assert (store.begun, len(cache)) == (1, 0)
    store.held = False
    store.change("a")
    assert await cache.get("a") == 1
    assert len(cache) == 1
