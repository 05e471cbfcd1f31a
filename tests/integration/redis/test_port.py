"""What any store of counters does, of which Redis is one and the store that other tests use is another."""

from __future__ import annotations

import pytest

from native.request import Elsewhere
from tests.support.memory_store import MemoryCounterStore
from tests.support.redis_counters import DOMAIN, question
from waypost.adapters.redis_counters import RedisCounters
from waypost.ports import CounterStore

NOW_US = 1_700_000_000_000_000


@pytest.fixture(params=["redis", "memory"])
def store(request: pytest.FixtureRequest, counters: RedisCounters) -> CounterStore:
    """Each store, empty."""
    return counters if request.param == "redis" else MemoryCounterStore(lambda: NOW_US)


async def test_an_admitted_request_is_charged_and_a_refused_one_is_not(store: CounterStore) -> None:
    both = [question("a", 2), question("b", 1, descriptor=1)]
    assert (await store.decide(DOMAIN, both)).admitted
    second = await store.decide(DOMAIN, both)
    assert not second.admitted
    assert [(decision.allowed, decision.remaining) for decision in second.decisions] == [(True, 1), (False, 0)]
    assert [decision.remaining for decision in await store.look(DOMAIN, both)] == [1, 0]


async def test_what_was_refused_elsewhere_is_not_charged(store: CounterStore) -> None:
    assert not (await store.decide(DOMAIN, [question("a", 2)], Elsewhere(refused=True))).admitted
    assert (await store.look(DOMAIN, [question("a", 2)]))[0].remaining == 2


async def test_domains_are_apart(store: CounterStore) -> None:
    assert (await store.decide("one", [question("a", 1)])).admitted
    assert (await store.decide("two", [question("a", 1)])).admitted
    assert not (await store.decide("one", [question("a", 1)])).admitted


async def test_a_reset_forgets_and_counts_each_counter_once(store: CounterStore) -> None:
    await store.decide(DOMAIN, [question("a", 1), question("b", 1)])
    assert await store.reset(DOMAIN, [question("a"), question("a"), question("b"), question("c")]) == 2
    assert (await store.decide(DOMAIN, [question("a", 1)])).admitted


async def test_a_request_without_questions_is_admitted(store: CounterStore) -> None:
    assert (await store.decide(DOMAIN, [])).admitted
    assert await store.look(DOMAIN, []) == ()
    assert await store.reset(DOMAIN, []) == 0


async def test_health(store: CounterStore) -> None:
    await store.check()
