"""Checks: one request is one decision, whatever number of limits it meets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native import Table
from native.limits import State, spend
from native.request import Question, decide
from ratelimiter.asking import NoOverrides, ask, match_all
from ratelimiter.handlers import AT_ONCE, Checker, DecisionRecord, in_turns
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from ratelimiter.results import UNLIMITED, CheckResult, DescriptorStatus
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import Rules
from waypost.errors import FieldViolation, InvalidFields
from waypost.model import LimitEntry

START_US = 1_700_000_000_000_000
SECOND_US = 1_000_000

RULES = """
domain: test
descriptors:
  - {key: two, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: five, rate_limit: {unit: minute, requests_per_unit: 5, algorithm: token_bucket}}
  - {key: zero, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: quota_a, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: quota_b, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: named, rate_limit: {name: small, unit: second, requests_per_unit: 1}}
  - {key: instead, rate_limit: {replaces: [{name: small}], unit: second, requests_per_unit: 3}}
  - {key: free_instead, rate_limit: {replaces: [{name: small}], unlimited: true}}
  - key: several
    limits:
      - {unit: hour, requests_per_unit: 4}
      - {unit: minute, requests_per_unit: 3}
  - {key: anyway, rate_limit: {unit: minute, requests_per_unit: 10, count_rejected: true}}
"""


class Requests:
    """A checker of `RULES` and the time that it sees."""

    def __init__(self, rules: str = RULES, table: Table | None = None, **options: Any) -> None:
        self.now_us = START_US
        self.table = Table() if table is None else table
        self.book = RuleBook(Rules.parse({"limits/test.yaml": rules}), datetime.now(UTC))
        self.told: list[DecisionRecord] = []
        self.checker = Checker(self.book, self.table, lambda: self.now_us, listeners=[self.told.append], **options)

    async def check(self, *keys: str, hits: int = 1, **own_hits: int) -> CheckResult:
        """A request with one descriptor for each of `keys`, `key` or `key=value`; some with hits of their own."""
        return await self.checker.check(self.request(*keys, hits=hits, **own_hits))

    def request(self, *keys: str, hits: int = 1, **own_hits: int) -> LimitRequest:
        descriptors = tuple(Descriptor(entries_of(key), own_hits.get(key.partition("=")[0])) for key in keys)
        return LimitRequest("test", descriptors, hits)


def entries_of(text: str) -> tuple[LimitEntry, ...]:
    """The entry of `key` or `key=value`."""
    key, _, value = text.partition("=")
    return (LimitEntry(key, value),)


def shown(result: CheckResult) -> list[tuple[bool, int]]:
    """Of each status whether it admits, and what is left."""
    return [(status.allowed, status.remaining) for status in result.statuses]


async def test_counts_down_and_refuses() -> None:
    requests = Requests()
    first = await requests.check("two")
    (status,) = first.statuses
    assert (first.allowed, first.retry_after_us, first.degraded) == (True, None, False)
    assert (status.allowed, status.rule, status.remaining, status.reset_after_us) == (True, "test.two", 1, SECOND_US)
    assert status.limit is not None
    assert (status.limit.limit.limit, status.limit.limit.window_us) == (2, SECOND_US)
    assert not status.strict
    assert (await requests.check("two")).statuses[0].remaining == 0
    refused = await requests.check("two")
    (status,) = refused.statuses
    assert (refused.allowed, refused.retry_after_us) == (False, SECOND_US)
    assert (status.allowed, status.over_limit, status.remaining, status.retry_after_us) == (False, True, 0, SECOND_US)
    assert (await requests.check("two=another value")).allowed
    requests.now_us += SECOND_US
    assert (await requests.check("two")).allowed


async def test_without_a_rule_everything_is_admitted() -> None:
    requests = Requests()
    assert await requests.check("none", hits=10**9) == CheckResult(True, (DescriptorStatus(True),))
    elsewhere = LimitRequest("elsewhere", (Descriptor(entries_of("two")),), 9)
    assert await requests.checker.check(elsewhere) == CheckResult(True, (DescriptorStatus(True),))
    assert len(requests.table) == 0


async def test_unlimited() -> None:
    result = await Requests().check("free", hits=10**9)
    (status,) = result.statuses
    assert (result.allowed, status.allowed, status.rule) == (True, True, "test.free")
    assert (status.remaining, status.limit) == (UNLIMITED, None)


async def test_a_refused_request_charges_nothing() -> None:
    requests = Requests()
    await requests.check("two", hits=2)
    for _ in range(3):
        result = await requests.check("five", "two")
        assert not result.allowed
        assert shown(result) == [(True, 5), (False, 0)]
        assert result.retry_after_us == SECOND_US
    assert (await requests.check("five", hits=5)).allowed


async def test_an_admitted_request_charges_every_descriptor() -> None:
    assert shown(await Requests().check("five", "none", "two", hits=2)) == [(True, 3), (True, 0), (True, 0)]


async def test_a_descriptor_may_have_hits_of_its_own() -> None:
    requests = Requests()
    assert shown(await requests.check("five", "two", hits=2, five=4)) == [(True, 1), (True, 0)]
    # None at all look, and are refused where nothing is left; others are charged all the same.
    assert shown(await requests.check("five=b", "two=b", two=0)) == [(True, 4), (True, 2)]
    refused = await requests.check("five=b", "two", two=0)
    assert (refused.allowed, shown(refused)) == (False, [(True, 4), (False, 0)])


async def test_negative_hits_are_given_back_if_the_request_is_admitted() -> None:
    requests = Requests()
    await requests.check("two", hits=2)
    await requests.check("five", hits=5)
    assert not (await requests.check("two", "five", two=-1)).allowed
    assert shown(await requests.check("two", two=0)) == [(False, 0)]
    assert shown(await requests.check("two", two=-1)) == [(True, 1)]
    # No more than what was taken.
    assert shown(await requests.check("two", two=-100)) == [(True, 2)]


async def test_retry_after_is_when_all_admit() -> None:
    requests = Requests()
    await requests.check("two", hits=2)
    await requests.check("five", hits=5)
    result = await requests.check("two", "five")
    assert [s.reset_after_us for s in result.statuses] == [SECOND_US, 12 * SECOND_US]
    assert result.retry_after_us == 12 * SECOND_US
    requests.now_us += 12 * SECOND_US - 1
    assert (await requests.check("two", "five")).retry_after_us == 1
    requests.now_us += 1
    assert (await requests.check("two", "five")).allowed


async def test_no_retry_after_when_no_wait_helps() -> None:
    requests = Requests()
    await requests.check("five", hits=5)
    result = await requests.check("zero")
    assert (result.allowed, result.retry_after_us) == (False, None)
    (status,) = result.statuses
    assert (status.allowed, status.over_limit, status.remaining, status.retry_after_us) == (False, True, 0, None)
    assert (await requests.check("five", "two", hits=3)).retry_after_us is None


async def test_descriptors_that_share_a_counter_are_charged_together() -> None:
    requests = Requests()
    result = await requests.check("five=a", "five=a", "five=b", hits=2)
    assert [s.remaining for s in result.statuses] == [3, 1, 3]
    refused = await requests.check("five=b", "five=b", hits=2)
    assert [s.allowed for s in refused.statuses] == [True, False]
    assert refused.retry_after_us == 12 * SECOND_US
    requests.now_us += 12 * SECOND_US
    assert (await requests.check("five=b", "five=b", hits=2)).allowed


async def test_shadow_mode_decides_but_never_refuses() -> None:
    requests = Requests()
    assert not (await requests.check("shadow", "two")).statuses[0].over_limit
    result = await requests.check("shadow", "two")
    assert result.allowed
    assert [(s.allowed, s.over_limit, s.remaining) for s in result.statuses] == [(True, True, 0), (True, False, 0)]
    assert not (await requests.check("shadow", "two")).allowed


async def test_in_the_shadow_mode_of_the_process_nothing_is_refused() -> None:
    requests = Requests(shadow_mode=True)
    await requests.check("two", hits=2)
    result = await requests.check("two", "five", "zero")
    assert result.allowed
    assert [(s.allowed, s.over_limit) for s in result.statuses] == [(True, True), (True, False), (True, True)]
    # What admits by itself is charged.
    assert (await requests.check("five")).statuses[0].remaining == 3


async def test_quota_rules_refuse_only_together() -> None:
    requests = Requests()
    assert (await requests.check("quota_a")).allowed
    result = await requests.check("quota_a", "quota_b")
    assert result.allowed
    assert [s.allowed for s in result.statuses] == [False, True]
    result = await requests.check("quota_a", "quota_b")
    assert not result.allowed
    # One of them is enough.
    assert result.retry_after_us == SECOND_US
    await requests.check("five", hits=5)
    assert (await requests.check("quota_a", "quota_b", "five")).retry_after_us == 12 * SECOND_US
    assert (await requests.check("quota_a", "quota_b", hits=2)).retry_after_us is None


@pytest.mark.parametrize("other", ["instead", "free_instead"])
async def test_a_replaced_rule_does_not_count(other: str) -> None:
    requests = Requests()
    await requests.check("named")
    assert not (await requests.check("named")).allowed
    result = await requests.check("named", other)
    assert result.allowed
    assert result.statuses[0] == DescriptorStatus(True)


async def test_of_several_limits_the_status_names_the_one_that_refuses_or_the_tightest() -> None:
    def window(result: CheckResult) -> int:
        (status,) = result.statuses
        assert status.limit is not None
        return status.limit.limit.window_us // SECOND_US

    requests = Requests()
    result = await requests.check("several")
    assert (window(result), result.statuses[0].remaining) == (60, 2)
    await requests.check("several")
    assert (window(await requests.check("several")), window(await requests.check("several"))) == (60, 60)
    requests.now_us += 60 * SECOND_US
    await requests.check("several")
    refused = await requests.check("several")
    assert (refused.allowed, window(refused)) == (False, 3600)
    # The one that refuses, though another has as little left and comes back later.
    assert refused.retry_after_us == 3600 * SECOND_US - requests.now_us % (3600 * SECOND_US)


async def test_count_rejected_moves_the_counter_of_a_refused_request() -> None:
    requests = Requests()
    await requests.check("two", hits=2)
    assert not (await requests.check("anyway", "two", hits=3)).allowed
    assert (await requests.check("anyway")).statuses[0].remaining == 6


async def test_the_references_accounting_counts_what_it_refuses() -> None:
    rules = RULES.replace("domain: test", "domain: test\ncompat: envoyproxy", 1).split("  - {key: five")[0]
    requests = Requests(rules)
    assert (await requests.check("two", hits=3)).allowed is False
    requests.now_us += SECOND_US // 2
    assert (await requests.check("two")).allowed is False
    assert (await requests.check("two", two=-3)).allowed


async def test_new_rules_keep_the_counts() -> None:
    requests = Requests()
    await requests.check("two")
    wider = RULES.replace("unit: second, requests_per_unit: 2", "unit: second, requests_per_unit: 10")
    requests.book.replace(Rules.parse({"limits/test.yaml": wider}), datetime.now(UTC))
    assert (await requests.check("two")).statuses[0].remaining == 8


async def test_a_full_table_decides_all_the_same() -> None:
    requests = Requests(table=Table(1))
    await requests.check("two=a", hits=2)
    assert (await requests.check("two=b")).allowed
    # The overflow has one left for each of these newcomers, as each is looked at, and then only the first can spend it.
    result = await requests.check("two=d", "two=e")
    assert result.allowed
    assert [s.allowed for s in result.statuses] == [True, True]
    assert not (await requests.check("two=f")).allowed
    assert len(requests.table) == 1


async def test_what_is_admitted_is_accounted_for_though_the_request_itself_took_the_room() -> None:
    requests = Requests(table=Table(2))
    await requests.check("five=a", hits=2)
    await requests.check("five=b", hits=2)
    # The first newcomer takes the place of a, whose two are from then on taken to be those of any newcomer.
    assert (await requests.check("five=c", "five=d", hits=4)).allowed
    assert requests.table.evictions == 2
    assert not (await requests.check("five=d")).allowed


@settings(deadline=None)
@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.lists(
                st.sampled_from([f"{key}={value}" for key in ("two", "five") for value in "abc"]),
                min_size=1,
                max_size=6,
            ),
            st.integers(1, 4),
            st.sampled_from([0, 0, 1000, SECOND_US // 2, 3 * SECOND_US]),
        ),
        min_size=10,
        max_size=30,
    ),
)
async def test_nobody_is_admitted_more_than_by_a_table_without_end(
    capacity: int, asked: list[tuple[list[str], int, int]]
) -> None:
    requests = Requests(table=Table(capacity))
    own: dict[str, State] = {}
    for keys, hits, gap_us in asked:
        requests.now_us += gap_us
        if not (await requests.check(*keys, hits=hits)).allowed:
            continue
        for name in keys:
            match = requests.book.rules.match("test", entries_of(name))
            assert match is not None
            (limit,) = match.rule.limits
            assert spend(limit.limit, own.setdefault(name, State()), hits, requests.now_us).allowed


NAMES = ("two", "five", "zero", "free", "shadow", "quota_a", "quota_b", "named", "instead", "several", "anyway", "none")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.sampled_from(NAMES), st.sampled_from("ab"), st.none() | st.integers(-3, 6)),
                min_size=1,
                max_size=6,
            ),
            st.integers(0, 3),
            st.sampled_from([0, 0, 1000, SECOND_US // 2, 61 * SECOND_US]),
        ),
        min_size=5,
        max_size=25,
    )
)
async def test_with_everything_local_it_is_the_definition(
    asked: list[tuple[list[tuple[str, str, int | None]], int, int]],
) -> None:
    requests, states = Requests(table=Table(1000)), dict[tuple[object, object], State]()

    def counter(question: Question) -> State:
        return states.setdefault((question.rule, question.values), State())

    for descriptors, hits, gap_us in asked:
        requests.now_us += gap_us
        request = LimitRequest(
            "test", tuple(Descriptor(entries_of(f"{key}={value}"), own) for key, value, own in descriptors), hits
        )
        asking = ask(match_all(requests.book.rules, NoOverrides(), request), request, shared=False)
        questions = [one.question for one in asking]
        # What is looked at and not kept leaves no trace.
        wanted = decide(questions, requests.now_us, counter, counter)
        result = await requests.checker.check(request)
        assert result.allowed == wanted.admitted
        for index, status in enumerate(result.statuses):
            of_it = [d for q, d in zip(questions, wanted.decisions, strict=True) if q.descriptor == index]
            assert status.over_limit == (not all(decision.allowed for decision in of_it))
            if of_it:
                assert (status.remaining, status.retry_after_us) in {(d.remaining, d.retry_after_us) for d in of_it}


async def violations(domain: str, descriptors: list[list[LimitEntry]], hits: int = 1) -> list[FieldViolation]:
    request = LimitRequest(domain, tuple(Descriptor(tuple(entries)) for entries in descriptors), hits)
    with pytest.raises(InvalidFields) as caught:
        await Requests().checker.check(request)
    return caught.value.violations


async def test_bad_fields_are_all_told() -> None:
    good = [LimitEntry("two", "")]
    assert await violations("", []) == [
        FieldViolation("domain", "rate limit domain must not be empty"),
        FieldViolation("descriptors", "rate limit descriptor list must not be empty"),
    ]
    assert await violations("ä" * 128, [good] * 101, -1) == [
        FieldViolation("domain", "must be at most 255 bytes"),
        FieldViolation("hits_addend", "must be from 0 to 4294967295"),
        FieldViolation("descriptors", "must be at most 100"),
    ]
    assert await violations(
        "test", [good, [], good * 33, [*good, LimitEntry("", "v" * 4097), LimitEntry("k" * 256, "")]]
    ) == [
        FieldViolation("descriptors[1].entries", "must not be empty"),
        FieldViolation("descriptors[2].entries", "must be at most 32"),
        FieldViolation("descriptors[3].entries[1].key", "must not be empty"),
        FieldViolation("descriptors[3].entries[1].value", "must be at most 4096 bytes"),
        FieldViolation("descriptors[3].entries[2].key", "must be at most 255 bytes"),
    ]
    assert len(await violations("test", [[]] * 100)) == 20


async def test_bad_hits_and_units_are_told() -> None:
    descriptors = (
        Descriptor(entries_of("two"), 2**32),
        Descriptor(entries_of("two"), -(2**32)),
        Descriptor(entries_of("two"), override=LimitNumbers(1, 0)),
    )
    requests = Requests()
    with pytest.raises(InvalidFields) as caught:
        await requests.checker.check(LimitRequest("test", descriptors))
    assert [violation.field for violation in caught.value.violations] == [
        "descriptors[0].hits_addend",
        "descriptors[1].hits_addend",
        "descriptors[2].limit.unit",
    ]
    assert requests.told == []


async def test_what_is_at_its_bound_is_good() -> None:
    entries = (LimitEntry("ä" * 127 + "k", "v" * 4096),) * 32
    request = LimitRequest("d" * 255, (Descriptor(entries, 2**32 - 1),) * 100, 2**32 - 1)
    assert (await Requests().checker.check(request)).allowed


async def test_a_batch_is_one_decision_after_the_other() -> None:
    requests = Requests()
    batch = [requests.request("two", "five", hits=hits) for hits in (1, 2, 1, 1)]
    results = await requests.checker.check_all(batch)
    assert [result.allowed for result in results] == [True, False, True, False]
    assert shown(results[-1]) == [(False, 0), (True, 3)]
    assert [record.request for record in requests.told] == batch
    assert [record.result for record in requests.told] == results


async def test_of_a_batch_with_a_mistake_nothing_is_counted() -> None:
    requests = Requests()
    batch = [requests.request("two"), LimitRequest("", ()), requests.request("two", hits=-1)]
    with pytest.raises(InvalidFields) as caught:
        await requests.checker.check_all(batch)
    assert [violation.field for violation in caught.value.violations] == [
        "requests[1].domain",
        "requests[1].descriptors",
        "requests[2].hits_addend",
    ]
    assert (requests.told, len(requests.table)) == ([], 0)
    for count, sentence in ((0, "must not be empty"), (1001, "must be at most 1,000")):
        with pytest.raises(InvalidFields, match=f"requests: {sentence}"):
            await requests.checker.check_all([requests.request("two")] * count)
    assert len(await requests.checker.check_all([requests.request("none")] * 1000)) == 1000


def test_others_get_a_turn_after_so_many_descriptors_of_a_batch() -> None:
    requests = Requests()
    small, large = requests.request("two"), requests.request(*["two"] * 20)
    empty = LimitRequest("test", ())
    sizes = [[len(one.descriptors) for one in part] for part in in_turns([large, small, large, large, *[empty] * 33])]
    assert sizes == [[20, 1], [20], [20, *[0] * 12], [0] * 21]
    assert [len(part) for part in in_turns([small] * 1000)] == [*[AT_ONCE] * 31, 8]
    assert list(in_turns(list[LimitRequest]())) == []


async def test_listeners_are_told_each_decision() -> None:
    requests = Requests()
    request = requests.request("two", hits=2)
    results = [await requests.checker.check(request) for _ in range(2)]
    assert requests.told == [DecisionRecord(request, result) for result in results]
    assert [result.allowed for result in results] == [True, False]
