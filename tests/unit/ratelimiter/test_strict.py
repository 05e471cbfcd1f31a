"""Strict limits: counted by the store that all replicas share, together with local ones of the same request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native import Table
from native.request import Elsewhere
from ratelimiter.handlers import Checker
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from ratelimiter.results import CheckResult
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import Rules
from tests.support.memory_store import MemoryCounterStore
from waypost.errors import DependencyUnavailable
from waypost.model import LimitEntry

START_US = 1_700_000_000_000_000
SECOND_US = 1_000_000

RULES = """
domain: test
descriptors:
  - {key: local, rate_limit: {unit: second, requests_per_unit: 5, consistency: local}}
  - {key: bucket, rate_limit: {unit: second, requests_per_unit: 10, algorithm: token_bucket, consistency: local}}
  - {key: sliding, rate_limit: {unit: second, requests_per_unit: 5, algorithm: sliding_window, consistency: local}}
  - {key: anyway, rate_limit: {unit: minute, requests_per_unit: 9, consistency: local, count_rejected: true}}
  - {key: quota_local, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 1, consistency: local}}
  - {key: shadow_local, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 1, consistency: local}}
  - {key: strict, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: quota, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: strict_anyway, rate_limit: {unit: minute, requests_per_unit: 9, count_rejected: true}}
  - {key: allow, rate_limit: {unit: minute, requests_per_unit: 3, on_store_failure: allow}}
  - {key: deny, rate_limit: {unit: minute, requests_per_unit: 3, on_store_failure: deny}}
  - {key: quota_deny, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 3, on_store_failure: deny}}
  - key: allow_or_count
    limits:
      - {unit: minute, requests_per_unit: 3, on_store_failure: allow}
      - {unit: hour, requests_per_unit: 2, on_store_failure: local}
  - key: quota_allow_or_count
    quota_mode: true
    limits:
      - {unit: minute, requests_per_unit: 3, on_store_failure: allow}
      - {unit: hour, requests_per_unit: 2, on_store_failure: local}
  - key: deny_or_count
    quota_mode: true
    limits:
      - {unit: minute, requests_per_unit: 3, on_store_failure: deny}
      - {unit: hour, requests_per_unit: 2, on_store_failure: local}
  - key: one_of_each
    limits:
      - {unit: minute, requests_per_unit: 3, consistency: local}
      - {unit: hour, requests_per_unit: 4}
"""


class World:
    """A checker with a store, both of which see the same time."""

    def __init__(self, *, strict: bool = True) -> None:
        self.now_us = START_US
        self.store = MemoryCounterStore(lambda: self.now_us)
        book = RuleBook(Rules.parse({"test.yaml": RULES}), datetime.now(UTC))
        self.table = Table()
        self.numbers: dict[str, LimitNumbers] = {}
        store = self.store if strict else None
        self.checker = Checker(book, self.table, lambda: self.now_us, store, overrides=self)

    def find(self, domain: str, entries: Sequence[LimitEntry]) -> LimitNumbers | None:
        """Overrides by the first key."""
        return self.numbers.get(entries[0].key)

    async def check(self, *keys: str, hits: int = 1, **own_hits: int) -> CheckResult:
        """A request with one descriptor for each of `keys`; some with hits of their own."""
        return await self.checker.check(request(*keys, hits=hits, **own_hits))

    async def left(self, *keys: str) -> list[int]:
        """What is left of each, looked at."""
        outlook = await self.checker.look(request(*keys))
        return [decision.remaining for decision in outlook.decisions]


def request(*keys: str, hits: int = 1, **own_hits: int) -> LimitRequest:
    descriptors = tuple(Descriptor((LimitEntry(key, "value"),), own_hits.get(key)) for key in keys)
    return LimitRequest("test", descriptors, hits)


def shown(result: CheckResult) -> list[tuple[bool, int]]:
    """Of each status whether it admits, and what is left."""
    return [(status.allowed, status.remaining) for status in result.statuses]


async def test_the_store_counts_strict_limits_and_the_process_local_ones() -> None:
    world, replica = World(), World()
    replica.store = world.store
    result = await world.check("local", "strict")
    assert (result.allowed, result.degraded, shown(result)) == (True, False, [(True, 4), (True, 2)])
    assert [status.strict for status in result.statuses] == [False, True]
    ((domain, questions, elsewhere),) = world.store.asked
    assert (domain, [question.values for question in questions], elsewhere) == (
        "test",
        [("strict", "value")],
        Elsewhere(),
    )
    assert len(world.table) == 1


async def test_two_replicas_share_strict_counters_only() -> None:
    world = World()
    other = Checker(world.checker._book, Table(), lambda: world.now_us, world.store)
    await world.check("local", "strict", hits=2)
    assert shown(await other.check(request("local", "strict"))) == [(True, 4), (True, 0)]
    assert not (await world.check("strict")).allowed


async def test_what_the_store_refuses_costs_nothing_here() -> None:
    world = World()
    await world.check("strict", hits=3)
    for _ in range(3):
        result = await world.check("local", "bucket", "sliding", "strict", hits=2)
        assert not result.allowed
        assert shown(result) == [(True, 5), (True, 10), (True, 5), (False, 0)]
    assert await world.left("local", "bucket", "sliding") == [5, 10, 5]


async def test_what_is_refused_here_costs_nothing_in_the_store() -> None:
    world = World()
    await world.check("local", hits=5)
    result = await world.check("local", "strict", "strict_anyway")
    assert (result.allowed, shown(result)) == (False, [(False, 0), (True, 3), (True, 8)])
    assert await world.left("strict", "strict_anyway") == [3, 8]


async def test_while_the_store_is_asked_nobody_else_is_admitted_on_the_same_hits() -> None:
    world = World()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await answer.wait()

    world.store.before_answer = hold
    first = asyncio.create_task(world.check("local", "strict", hits=3))
    await asked.wait()
    assert not (await world.check("local", hits=3)).allowed
    answer.set()
    assert (await first).allowed
    assert (await world.check("local", hits=2)).allowed


async def test_what_is_given_back_is_not_what_others_took_in_the_next_window() -> None:
    world = World()
    await world.check("strict", hits=3)

    async def others() -> None:
        world.now_us += SECOND_US
        world.store.before_answer = nothing
        assert (await world.check("local", "bucket", "sliding", hits=4)).allowed

    async def nothing() -> None:
        pass

    world.store.before_answer = others
    result = await world.check("local", "bucket", "strict", hits=3)
    assert not result.allowed
    # The bucket was full before, and has become so again meanwhile: the request's own hits are long gone.
    assert await world.left("local", "bucket") == [1, 6]


async def test_hits_that_came_back_meanwhile_are_not_given_back_again() -> None:
    world = World()
    await world.check("bucket", hits=1)
    await world.check("strict", hits=3)

    async def later() -> None:
        # Two of the request's three and the one before are back.
        world.now_us += 3 * SECOND_US // 10

    world.store.before_answer = later
    assert not (await world.check("bucket", "strict", hits=3)).allowed
    assert await world.left("bucket") == [10]
    world.now_us -= 3 * SECOND_US // 10
    assert (await world.checker.look(request("bucket"))).decisions[0].remaining == 10


async def test_hits_are_given_back_only_if_the_store_admits() -> None:
    world = World()
    await world.check("local", hits=2)
    await world.check("strict", hits=3)
    refused = await world.check("local", "strict", local=-5)
    assert (refused.allowed, shown(refused)) == (False, [(True, 3), (False, 0)])
    assert await world.left("local") == [3]
    admitted = await world.check("local", "shadow", local=-5)
    assert (admitted.allowed, shown(admitted)) == (True, [(True, 5), (True, 0)])
    strict = await world.check("local", "strict", strict=-1)
    assert (strict.allowed, shown(strict)) == (True, [(True, 4), (True, 1)])
    # None of it if the limit here refuses.
    assert not (await world.check("local", "strict", local=9, strict=-1)).allowed
    assert await world.left("strict") == [1]


async def test_what_counts_in_any_case_stays_counted() -> None:
    world = World()
    await world.check("strict", hits=3)
    result = await world.check("anyway", "local", "strict", hits=2)
    assert (result.allowed, shown(result)) == (False, [(True, 7), (True, 5), (False, 0)])


async def test_quotas_refuse_only_together_wherever_they_are_counted() -> None:
    world = World()
    assert (await world.check("quota_local", "quota")).allowed
    # Nothing is left of either.
    result = await world.check("quota_local", "quota", "local")
    assert (result.allowed, shown(result)) == (False, [(False, 0), (False, 0), (True, 5)])
    world.now_us += SECOND_US
    result = await world.check("quota_local", "quota", "local")
    assert (result.allowed, shown(result)) == (True, [(True, 0), (False, 0), (True, 4)])
    # It is the store's that admits now, and what is decided here is charged all the same.
    world.now_us += 60 * SECOND_US
    await world.check("quota_local")
    result = await world.check("quota_local", "quota", "local")
    assert (result.allowed, shown(result)) == (True, [(False, 0), (True, 0), (True, 4)])
    assert await world.left("local") == [4]
    # One whose hits are given back admits.
    result = await world.check("quota_local", "quota", quota_local=-1)
    assert (result.allowed, shown(result)) == (True, [(True, 1), (False, 0)])


async def test_shadow_mode_refuses_nothing_wherever_it_is_counted() -> None:
    world = World()
    for over in (False, True):
        result = await world.check("shadow", "shadow_local", "local", "strict")
        assert (result.allowed, [status.over_limit for status in result.statuses[:2]]) == (True, [over, over])


async def test_a_descriptor_is_counted_as_a_whole_by_one_store() -> None:
    world = World()
    result = await world.check("one_of_each")
    assert (shown(result), len(world.table)) == ([(True, 2)], 0)
    ((_, questions, _),) = world.store.asked
    assert [question.limit.window_us for question in questions] == [60 * SECOND_US, 3600 * SECOND_US]


async def test_without_the_store_each_rule_says_what_follows() -> None:
    world = World()
    world.store.fails = True
    allowed = await world.check("allow", hits=99)
    assert (allowed.allowed, allowed.degraded, shown(allowed)) == (True, True, [(True, 3)])
    denied = await world.check("deny")
    assert (denied.allowed, denied.degraded, shown(denied)) == (False, True, [(False, 0)])
    assert denied.retry_after_us == SECOND_US
    for remaining in (2, 1, 0):
        assert shown(await world.check("strict", "local")) == [(True, remaining), (True, remaining + 2)]
    result = await world.check("strict", "local")
    assert (result.allowed, shown(result)) == (False, [(False, 0), (True, 2)])
    assert [status.degraded for status in result.statuses] == [True, False]


async def test_a_request_that_needs_no_store_is_not_degraded() -> None:
    world = World()
    world.store.fails = True
    assert not (await world.check("local", "none")).degraded
    assert world.store.asked == []


async def test_one_denial_without_the_store_refuses_all_and_charges_nothing() -> None:
    world = World()
    world.store.fails = True
    result = await world.check("deny", "strict", "local", "anyway")
    assert (result.allowed, shown(result)) == (False, [(False, 0), (True, 3), (True, 5), (True, 8)])
    assert (await world.check("deny", "local", deny=-1)).allowed


async def test_a_definite_refusal_beats_an_error() -> None:
    world = World()
    world.store.fails = True
    await world.check("local", hits=5)
    result = await world.check("allow", "strict", "local")
    assert (result.allowed, [status.allowed for status in result.statuses]) == (False, [True, True, False])
    world.now_us += SECOND_US
    await world.check("strict", hits=3)
    assert not (await world.check("allow", "strict", "local")).allowed
    assert (await world.check("local", hits=5)).allowed


async def test_limits_of_a_descriptor_that_disagree_without_the_store() -> None:
    world = World()
    world.store.fails = True
    results = [await world.check("allow_or_count") for _ in range(3)]
    assert [result.allowed for result in results] == [True, True, False]
    # One descriptor is one quota, though one of its limits would admit, and there is no other quota.
    results = [await world.check("quota_allow_or_count") for _ in range(3)]
    assert [result.allowed for result in results] == [True, True, False]
    assert not (await world.check("deny_or_count")).allowed
    assert (await world.check("deny_or_count", "quota_local")).allowed
    assert not (await world.check("quota_deny", "quota_local")).allowed


async def test_when_the_store_is_back_it_counts_again() -> None:
    world = World()
    await world.check("strict")
    world.store.fails = True
    for _ in range(3):
        await world.check("strict")
    assert not (await world.check("strict")).allowed
    world.store.fails = False
    result = await world.check("strict")
    assert (result.allowed, result.degraded, shown(result)) == (True, False, [(True, 1)])


async def test_an_override_of_the_rules_own_window_shares_its_count() -> None:
    world = World()
    await world.check("strict", "bucket", hits=2)
    world.numbers = {"strict": LimitNumbers(10, 60 * SECOND_US), "bucket": LimitNumbers(10, SECOND_US, burst=20)}
    assert shown(await world.check("strict", "bucket")) == [(True, 7), (True, 17)]
    world.numbers = {"strict": LimitNumbers(None, 0)}
    assert (await world.check("strict", hits=99)).allowed
    # A count of its own, by whom the rule is counted.
    world.numbers = {"strict": LimitNumbers(10, SECOND_US), "local": LimitNumbers(10, 60 * SECOND_US)}
    result = await world.check("strict", "local")
    assert (shown(result), [status.strict for status in result.statuses]) == ([(True, 9), (True, 9)], [True, False])
    world.numbers = {}
    assert shown(await world.check("strict")) == [(False, 0)]


async def test_overrides_by_operators_keep_the_rules_modes_and_those_of_requests_do_not() -> None:
    world = World()
    world.numbers = {"shadow": LimitNumbers(0, 60 * SECOND_US)}
    assert (await world.check("shadow")).allowed
    one = Descriptor((LimitEntry("shadow", "value"),), override=LimitNumbers(0, 60 * SECOND_US))
    assert not (await world.checker.check(LimitRequest("test", (one,)))).allowed
    world.numbers = {}
    # Where there are no rules at all a request's numbers are of no account; where there is none for it, they are.
    assert (await world.checker.check(LimitRequest("elsewhere", (one,)))).allowed
    other = Descriptor((LimitEntry("none", "value"),), override=LimitNumbers(1, SECOND_US))
    results = [await world.checker.check(LimitRequest("test", (other,))) for _ in range(2)]
    assert [(result.allowed, result.statuses[0].rule) for result in results] == [
        (True, "test.none_value"),
        (False, "test.none_value"),
    ]


async def test_reset_forgets_the_counters_of_these_descriptors_only() -> None:
    world = World()
    world.store.fails = True
    await world.check("strict", hits=3)
    world.store.fails = False
    await world.check("strict", "local", "one_of_each", "quota", hits=1)
    assert await world.checker.reset(request("strict", "strict", "local", "one_of_each", "none", "deny")) == 4
    assert await world.left("strict", "local", "one_of_each", "quota") == [3, 5, 3, 4, 0]
    # Also what was counted here while the store was away.
    world.store.fails = True
    assert (await world.check("strict", hits=3)).allowed
    with pytest.raises(DependencyUnavailable, match="redis"):
        await world.checker.reset(request("strict"))
    assert await world.checker.reset(request("local")) == 1


async def test_a_look_counts_nothing() -> None:
    world = World()
    await world.check("strict", "local", hits=3)
    outlook = await world.checker.look(request("strict", "local", "none", "shadow", hits=2))
    assert not outlook.allowed
    assert [(decision.allowed, decision.remaining) for decision in outlook.decisions] == [
        (False, 0),
        (True, 2),
        (False, 1),
    ]
    assert (await world.checker.look(request("strict", "local", strict=-3))).allowed
    assert await world.left("strict", "local") == [0, 2]
    world.store.fails = True
    with pytest.raises(DependencyUnavailable, match="redis"):
        await world.checker.look(request("strict"))


KEYS = ("local", "bucket", "sliding", "quota_local", "shadow_local", "strict", "quota", "shadow", "one_of_each", "none")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.sampled_from((*KEYS, "anyway", "strict_anyway")), st.none() | st.integers(-3, 4)),
                min_size=1,
                max_size=6,
                unique_by=lambda pair: pair[0],
            ),
            st.integers(0, 3),
            st.sampled_from([0, 0, 1000, SECOND_US // 2, 61 * SECOND_US]),
        ),
        min_size=5,
        max_size=25,
    )
)
async def test_it_decides_as_if_one_store_counted_everything(
    asked: list[tuple[list[tuple[str, int | None]], int, int]],
) -> None:
    mixed, local = World(), World(strict=False)
    for descriptors, hits, gap_us in asked:
        mixed.now_us = local.now_us = mixed.now_us + gap_us
        one = LimitRequest("test", tuple(Descriptor((LimitEntry(key, "x"),), own) for key, own in descriptors), hits)
        results = [await world.checker.check(one) for world in (mixed, local)]
        facts = [
            (
                result.allowed,
                result.retry_after_us,
                [(s.over_limit, s.remaining, s.reset_after_us, s.retry_after_us) for s in result.statuses],
            )
            for result in results
        ]
        assert facts[0] == facts[1]


async def test_a_batch_asks_the_store_in_order() -> None:
    world = World()
    batch = [request("strict", hits=hits) for hits in (1, 3, 1, 1, 1)]
    results = await world.checker.check_all(batch)
    assert [(result.allowed, result.statuses[0].remaining) for result in results] == [
        (True, 2),
        (False, 2),
        (True, 1),
        (True, 0),
        (False, 0),
    ]
    # Requests that are counted here too wait for each other.
    mixed = [request("local", "shadow", hits=hits) for hits in (3, 1, 2, 1)]
    assert [result.statuses[0].remaining for result in await world.checker.check_all(mixed)] == [2, 1, 1, 0]
    world.store.before_answer = lambda: asyncio.sleep(0)
    given_back = [request("local", "strict", hits=3), request("local", hits=2), request("strict")]
    world.now_us += SECOND_US
    assert [result.allowed for result in await world.checker.check_all(given_back)] == [False, True, False]
    assert await world.left("local") == [3]
    world.now_us += SECOND_US
    given_back[1] = request("local", hits=3)
    assert [result.allowed for result in await world.checker.check_all(given_back)] == [False, True, False]
    large = [request("shadow") for _ in range(100)]
    assert all(result.allowed for result in await world.checker.check_all(large))
