"""Answers written by hand in C: byte for byte what the real library writes."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.limits import Algorithm, Limit
from ratelimiter.convert import to_check_response
from ratelimiter.envoy_convert import to_rate_limit_response
from ratelimiter.headers import MAX_POLICIES, response_headers
from ratelimiter.requests import Descriptor, LimitRequest
from ratelimiter.results import UNLIMITED, CheckResult, DescriptorStatus
from ratelimiter.rulelimits import UNITS
from ratelimiter.ruletree import Match, Rule, RuleLimit
from tests.support import rls as support
from tests.support.limiter import Limiter
from tests.support.rls import MAX_DESCRIPTORS, Rls
from waypost.limit_headers import MAX_NAME
from waypost.model import LimitEntry

MAX = 2**63 - 1
SECOND_US = 1_000_000

NAMES = ("", "a", "per_address", 'a b"c\\d%e~é\U0001f600\0\r\n', "n" * MAX_NAME, "é" * 300, "x" * 4096)
PLACES = ("test.key", "waypost.route_class_create.remote_address", "d." + "ключ." * 800)
LIMITS = (0, 1, 9, 10, 99, 100, 127, 128, 1000, 12_345, 10**9, 2**32 - 1)
SPANS = (
    0, 1, 999_999, SECOND_US, SECOND_US + 1, 59_999_999, 3600 * SECOND_US, 127 * SECOND_US, 128 * SECOND_US,
    100 * 365 * 86_400 * SECOND_US, 315_576_000_000 * SECOND_US - 1, 315_576_000_000 * SECOND_US,
    315_576_000_000 * SECOND_US + 1, MAX - 1, MAX,
)  # fmt: skip
WINDOWS = (*(seconds * SECOND_US for seconds in UNITS.values()), 1, 5 * SECOND_US, 90 * SECOND_US, MAX)

numbers = st.integers(0, 2**32 - 1) | st.sampled_from(LIMITS)
spans = st.integers(0, MAX) | st.sampled_from(SPANS)
windows = st.integers(1, MAX) | st.sampled_from(WINDOWS)
names = st.text() | st.sampled_from(NAMES)


@pytest.fixture(scope="session")
def rls() -> Rls:
    return support.rls()


def same(rls: Rls, result: CheckResult) -> None:
    """Writes an answer in all ways; each must be the real library's."""
    assert rls.write_check(result) == to_check_response(result).SerializeToString(), result
    same_for_envoy(rls, result)


def same_for_envoy(rls: Rls, result: CheckResult) -> None:
    for headers, shadow_mode in ((False, False), (True, False), (True, True)):
        told = response_headers(result, shadow_mode=shadow_mode) if headers else []
        expected = to_rate_limit_response(result, told).SerializeToString()
        assert rls.write_envoy(result, headers=headers, shadow_mode=shadow_mode) == expected, result


def rule_of(place: str, name: str, limit: Limit | None, *, shadow_mode: bool = False, quota_mode: bool = False) -> Rule:
    limits = () if limit is None else (RuleLimit(limit, (place,)),)
    return Rule(place, limits, name, shadow_mode=shadow_mode, quota_mode=quota_mode)


def status_of(rule: Rule, remaining: int, reset_after_us: int, *, over_limit: bool, allowed: bool) -> DescriptorStatus:
    limit = rule.limits[0] if rule.limits else None
    if limit is None:
        return DescriptorStatus(True, Match(rule, ()), remaining=UNLIMITED)
    return DescriptorStatus(allowed, Match(rule, ()), limit, remaining, reset_after_us, over_limit=over_limit)


rules = st.builds(
    rule_of,
    st.text(min_size=1) | st.sampled_from(PLACES),
    names,
    st.none() | st.builds(Limit, st.just(Algorithm.FIXED_WINDOW), numbers, windows),
    shadow_mode=st.booleans(),
    quota_mode=st.booleans(),
)


@st.composite
def results(draw: Any) -> CheckResult:
    """Answers of any kind; more than few rules would seldom be met twice."""
    few = draw(st.lists(rules, min_size=1, max_size=4))
    matched = st.builds(
        status_of, st.sampled_from(few), numbers, spans, over_limit=st.booleans(), allowed=st.booleans()
    )
    statuses = draw(st.lists(st.just(DescriptorStatus(True)) | matched, min_size=1, max_size=MAX_DESCRIPTORS))
    return CheckResult(draw(st.booleans()), tuple(statuses), draw(st.none() | spans))


@settings(max_examples=250, deadline=None)
@given(result=results())
def test_any_answer_is_written_as_the_real_library_writes_it(result: CheckResult) -> None:
    same(support.rls(), result)


def random_result(random: Random) -> CheckResult:
    """As `results`, of fewer kinds and in less time."""
    few = [
        rule_of(
            random.choice(PLACES),
            random.choice(NAMES[:5]),
            None
            if random.random() < 0.1
            else Limit(Algorithm.FIXED_WINDOW, _near(random, LIMITS), _near(random, WINDOWS)),
            shadow_mode=random.random() < 0.2,
            quota_mode=random.random() < 0.4,
        )
        for _ in range(random.randint(1, 4))
    ]
    few_remaining, few_resets = (random.choices(pool, k=2) for pool in (LIMITS, SPANS))
    statuses = [
        DescriptorStatus(True)
        if random.random() < 0.1
        else status_of(
            random.choice(few),
            random.choice(few_remaining) if random.random() < 0.8 else _near(random, LIMITS),
            random.choice(few_resets) if random.random() < 0.8 else _near(random, SPANS),
            over_limit=random.random() < 0.5,
            allowed=random.random() < 0.5,
        )
        for _ in range(random.choice((1, 2, 2, 3, 4, MAX_POLICIES, MAX_POLICIES + 1, MAX_DESCRIPTORS)))
    ]
    retry_after_us = None if random.random() < 0.5 else _near(random, SPANS)
    return CheckResult(random.random() < 0.5, tuple(statuses), retry_after_us)


def _near(random: Random, pool: tuple[int, ...]) -> int:
    """A number from the pool, or one of up to as many digits."""
    number = random.choice(pool)
    return number if random.random() < 0.5 else random.randint(1, max(1, number))


def test_many_answers_are_written_as_the_real_library_writes_them(rls: Rls) -> None:
    random = Random(1)
    for _ in range(2500):
        same(rls, random_result(random))


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2))
def test_very_many_answers_are_written_as_the_real_library_writes_them(rls: Rls, seed: int) -> None:
    random = Random(100 + seed)
    for _ in range(100_000):
        same(rls, random_result(random))


def test_every_number_of_digits_and_every_length_is_written(rls: Rls) -> None:
    numbers = sorted(
        {n for power in range(63) for n in (2**power - 1, 2**power)}
        | {10**power - d for power in range(19) for d in (0, 1)}
    )
    for number in numbers:
        for name in ("a" * (number % MAX_NAME), "a" * min(number, 20_000)):
            limit = Limit(Algorithm.FIXED_WINDOW, min(number, 2**32 - 1), max(1, number))
            rule = rule_of(name or "place", name, limit)
            status = status_of(rule, number, number, over_limit=False, allowed=True)
            same_for_envoy(rls, CheckResult(False, (status, status), number))
            same(
                rls,
                CheckResult(True, (status_of(rule, number % 2**32, number, over_limit=True, allowed=False),), number),
            )


def test_the_longest_answers_fit_where_they_are_written(rls: Rls) -> None:
    """Nothing that stands before them is overwritten, which writing looks at."""
    for name, place in (("\0" * MAX_NAME, "p" * 100_000), ("é" * 2048, "p"), ("", "\U0001f600" * 1000)):
        few = [
            rule_of(place, name, Limit(Algorithm.FIXED_WINDOW, 2**32 - 1 - n, MAX - n * SECOND_US)) for n in range(16)
        ]
        statuses = tuple(status_of(rule, 2**32 - 1, MAX, over_limit=True, allowed=False) for rule in few)
        same(rls, CheckResult(False, statuses, MAX))
        same_for_envoy(
            rls,
            CheckResult(False, tuple(status_of(rule, MAX, MAX, over_limit=True, allowed=False) for rule in few), MAX),
        )


@pytest.mark.parametrize("names", [("a", "a"), ("a", "ab"), ("ab", "a"), ("a", "b")])
@pytest.mark.parametrize("other", [(9, SECOND_US), (9, SECOND_US - 1), (9, SECOND_US + 1), (8, SECOND_US)])
def test_policies_are_the_same_if_all_that_is_told_is(rls: Rls, names: tuple[str, str], other: tuple[int, int]) -> None:
    few = [
        rule_of(f"place {index}", name, Limit(Algorithm.FIXED_WINDOW, *numbers))
        for index, (name, numbers) in enumerate(zip(names, ((9, SECOND_US), other), strict=True))
    ]
    same(rls, CheckResult(True, tuple(status_of(rule, 5, 5, over_limit=False, allowed=True) for rule in few)))


@pytest.mark.skipif("address" in support.SANITIZERS, reason="its runtime ends a process that asks for too much")
def test_an_answer_that_finds_no_memory_leaves_what_there_is(rls: Rls) -> None:
    assert rls.write_beyond_memory() == (True, True)


async def test_what_a_limiter_decides_is_written_as_the_real_library_writes_it(rls: Rls) -> None:
    limiter = Limiter("""
domain: test
descriptors:
  - {key: two, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: bucket, rate_limit: {unit: minute, requests_per_unit: 7, algorithm: token_bucket, burst: 9, name: a bucket}}
  - {key: zero, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: quota_a, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 9}}
  - {key: quota_b, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 5, multiplier: 3}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: week, requests_per_unit: 5}}
  - key: both
    limits: [{unit: second, requests_per_unit: 4}, {unit: year, requests_per_unit: 30, algorithm: sliding_window}]
""")
    random = Random(5)
    keys = ("two", "bucket", "zero", "free", "quota_a", "quota_b", "shadow", "both", "none")
    outcomes = set()
    for _ in range(500):
        limiter.now_us += random.choice((0, 1, 400_000, 3 * SECOND_US))
        chosen = [key for key in random.choices(keys, k=random.randint(1, 5)) if key != "zero" or random.random() < 0.1]
        descriptors = tuple(Descriptor((LimitEntry(key, "x"),)) for key in chosen or ["two"])
        result = await limiter.checker.check(LimitRequest("test", descriptors))
        outcomes.add((result.allowed, result.retry_after_us is None))
        same(rls, result)
    assert outcomes == {(True, True), (False, True), (False, False)}
