"""Checks: one request is one decision, whatever number of limits it meets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.limits import State, spend
from native.table import Table
from ratelimiter.handlers import UNLIMITED, Checker, CheckResult, DescriptorStatus
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
"""


class Requests:
    """A checker of `RULES` and the time that it sees."""

    def __init__(self, rules: str = RULES, table: Table | None = None) -> None:
        self.now_us = START_US
        self.table = Table() if table is None else table
        self.checker = Checker(Rules.parse({"limits/test.yaml": rules}), self.table, lambda: self.now_us)

    def check(self, *keys: str, hits: int = 1) -> CheckResult:
        """A request with one descriptor for each of `keys`, `key` or `key=value`."""
        pairs = [key.partition("=") for key in keys]
        return self.checker.check("test", [[LimitEntry(key, value)] for key, _, value in pairs], hits)


def test_counts_down_and_refuses() -> None:
    requests = Requests()
    assert requests.check("two") == CheckResult(
        True, (DescriptorStatus(True, "test.two", 2, SECOND_US, 1, SECOND_US),), None
    )
    assert requests.check("two").statuses[0].remaining == 0
    assert requests.check("two") == CheckResult(
        False, (DescriptorStatus(False, "test.two", 2, SECOND_US, 0, SECOND_US, over_limit=True),), SECOND_US
    )
    assert requests.check("two=another value").allowed
    requests.now_us += SECOND_US
    assert requests.check("two").allowed


def test_without_a_rule_everything_is_admitted() -> None:
    requests = Requests()
    assert requests.check("none", hits=10**9) == CheckResult(True, (DescriptorStatus(True),))
    assert requests.checker.check("elsewhere", [[LimitEntry("two", "")]], 9) == CheckResult(
        True, (DescriptorStatus(True),)
    )
    assert len(requests.table) == 0


def test_unlimited() -> None:
    assert Requests().check("free", hits=10**9) == CheckResult(
        True, (DescriptorStatus(True, "test.free", remaining=UNLIMITED),)
    )


def test_a_refused_request_charges_nothing() -> None:
    requests = Requests()
    requests.check("two", hits=2)
    for _ in range(3):
        result = requests.check("five", "two")
        assert not result.allowed
        assert [(s.allowed, s.remaining) for s in result.statuses] == [(True, 5), (False, 0)]
        assert result.retry_after_us == SECOND_US
    assert requests.check("five", hits=5).allowed


def test_an_admitted_request_charges_every_descriptor() -> None:
    result = Requests().check("five", "none", "two", hits=2)
    assert [(s.allowed, s.remaining) for s in result.statuses] == [(True, 3), (True, 0), (True, 0)]


def test_retry_after_is_when_all_admit() -> None:
    requests = Requests()
    requests.check("two", hits=2)
    requests.check("five", hits=5)
    result = requests.check("two", "five")
    assert [s.reset_after_us for s in result.statuses] == [SECOND_US, 12 * SECOND_US]
    assert result.retry_after_us == 12 * SECOND_US
    requests.now_us += 12 * SECOND_US - 1
    assert requests.check("two", "five").retry_after_us == 1
    requests.now_us += 1
    assert requests.check("two", "five").allowed


def test_no_retry_after_when_no_wait_helps() -> None:
    requests = Requests()
    requests.check("five", hits=5)
    assert requests.check("zero") == CheckResult(
        False, (DescriptorStatus(False, "test.zero", 0, SECOND_US, 0, SECOND_US, over_limit=True),), None
    )
    assert requests.check("five", "two", hits=3).retry_after_us is None


def test_descriptors_that_share_a_counter_are_charged_together() -> None:
    requests = Requests()
    result = requests.check("five=a", "five=a", "five=b", hits=2)
    assert [s.remaining for s in result.statuses] == [3, 1, 3]
    refused = requests.check("five=b", "five=b", hits=2)
    assert [s.allowed for s in refused.statuses] == [True, False]
    assert refused.retry_after_us == 12 * SECOND_US
    requests.now_us += 12 * SECOND_US
    assert requests.check("five=b", "five=b", hits=2).allowed


def test_shadow_mode_decides_but_never_refuses() -> None:
    requests = Requests()
    assert not requests.check("shadow", "two").statuses[0].over_limit
    result = requests.check("shadow", "two")
    assert result.allowed
    assert [(s.allowed, s.over_limit, s.remaining) for s in result.statuses] == [(True, True, 0), (True, False, 0)]
    assert not requests.check("shadow", "two").allowed


def test_quota_rules_refuse_only_together() -> None:
    requests = Requests()
    assert requests.check("quota_a").allowed
    result = requests.check("quota_a", "quota_b")
    assert result.allowed
    assert [s.allowed for s in result.statuses] == [False, True]
    result = requests.check("quota_a", "quota_b")
    assert not result.allowed
    # One of them is enough.
    assert result.retry_after_us == SECOND_US
    requests.check("five", hits=5)
    assert requests.check("quota_a", "quota_b", "five").retry_after_us == 12 * SECOND_US
    assert requests.check("quota_a", "quota_b", hits=2).retry_after_us is None


@pytest.mark.parametrize("other", ["instead", "free_instead"])
def test_a_replaced_rule_does_not_count(other: str) -> None:
    requests = Requests()
    requests.check("named")
    assert not requests.check("named").allowed
    result = requests.check("named", other)
    assert result.allowed
    assert result.statuses[0] == DescriptorStatus(True)


def test_no_hits_look_without_spending() -> None:
    requests = Requests()
    assert requests.check("two", hits=0).statuses[0].remaining == 2
    requests.check("two", hits=2)
    assert not requests.check("two", hits=0).allowed


def test_new_rules_keep_the_counts() -> None:
    requests = Requests()
    requests.check("two")
    wider = RULES.replace("unit: second, requests_per_unit: 2", "unit: second, requests_per_unit: 10")
    requests.checker.rules = Rules.parse({"limits/test.yaml": wider})
    assert requests.check("two").statuses[0].remaining == 8


def test_a_full_table_decides_all_the_same() -> None:
    requests = Requests(table=Table(1))
    requests.check("two=a", hits=2)
    assert requests.check("two=b").allowed
    # The overflow has one left for each of these newcomers, as each is looked at, and then only the first can spend it.
    result = requests.check("two=d", "two=e")
    assert result.allowed
    assert [s.allowed for s in result.statuses] == [True, True]
    assert not requests.check("two=f").allowed
    assert len(requests.table) == 1


def test_what_is_admitted_is_accounted_for_though_the_request_itself_took_the_room() -> None:
    requests = Requests(table=Table(2))
    requests.check("five=a", hits=2)
    requests.check("five=b", hits=2)
    # The first newcomer takes the place of a, whose two are from then on taken to be those of any newcomer.
    assert requests.check("five=c", "five=d", hits=4).allowed
    assert requests.table.evictions == 2
    assert not requests.check("five=d").allowed


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
def test_nobody_is_admitted_more_than_by_a_table_without_end(
    capacity: int, asked: list[tuple[list[str], int, int]]
) -> None:
    requests = Requests(table=Table(capacity))
    own: dict[str, State] = {}
    for keys, hits, gap_us in asked:
        requests.now_us += gap_us
        if not requests.check(*keys, hits=hits).allowed:
            continue
        for name in keys:
            key, _, value = name.partition("=")
            match = requests.checker.rules.match("test", [LimitEntry(key, value)])
            assert match is not None
            assert match.rule.limit is not None
            assert spend(match.rule.limit, own.setdefault(name, State()), hits, requests.now_us).allowed


def violations(domain: str, descriptors: list[list[LimitEntry]], hits: int = 1) -> list[FieldViolation]:
    with pytest.raises(InvalidFields) as caught:
        Requests().checker.check(domain, descriptors, hits)
    return caught.value.violations


def test_bad_fields_are_all_told() -> None:
    good = [LimitEntry("two", "")]
    assert violations("", []) == [
        FieldViolation("domain", "rate limit domain must not be empty"),
        FieldViolation("descriptors", "rate limit descriptor list must not be empty"),
    ]
    assert violations("ä" * 128, [good] * 101, -1) == [
        FieldViolation("domain", "must be at most 255 bytes"),
        FieldViolation("hits_addend", "must not be negative"),
        FieldViolation("descriptors", "must be at most 100"),
    ]
    assert violations(
        "test", [good, [], good * 33, [*good, LimitEntry("", "v" * 4097), LimitEntry("k" * 256, "")]]
    ) == [
        FieldViolation("descriptors[1].entries", "must not be empty"),
        FieldViolation("descriptors[2].entries", "must be at most 32"),
        FieldViolation("descriptors[3].entries[1].key", "must not be empty"),
        FieldViolation("descriptors[3].entries[1].value", "must be at most 4096 bytes"),
        FieldViolation("descriptors[3].entries[2].key", "must be at most 255 bytes"),
    ]
    assert len(violations("test", [[]] * 100)) == 20


def test_what_is_at_its_bound_is_good() -> None:
    entries = [LimitEntry("ä" * 127 + "k", "v" * 4096)] * 32
    assert Requests().checker.check("d" * 255, [entries] * 100).allowed
