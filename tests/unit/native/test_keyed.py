"""The shortest way to one limit for each key, in both tables."""

from __future__ import annotations

import time

import pytest

from native.limits import Algorithm, Limit
from native.request import Question
from tests.unit.native.twins import AnyTable, both_tables

NOW_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
RULE = ("waypost", "key")
LIMIT = Limit(Algorithm.TOKEN_BUCKET, 5, SECOND_US)


@both_tables
def test_it_decides_as_the_table_does_on_the_same_counters(make: type[AnyTable]) -> None:
    table = make()
    limiter = table.limiter(RULE, LIMIT)
    question = Question(RULE, ("a",), LIMIT, 2)
    assert limiter.spend("a", NOW_US, 2).remaining == 3
    assert table.decide([question], NOW_US).decisions[0].remaining == 1
    assert limiter.look("a", NOW_US, 2) == table.look([question], NOW_US)[0]
    assert limiter.spend("a", NOW_US, 2) == table.decide([question], NOW_US).decisions[0]
    assert limiter.spend("a", NOW_US, hits=0).allowed
    assert limiter.spend("a", NOW_US, hits=-1).remaining == 2
    assert limiter.allow("a", NOW_US, hits=2)
    assert not limiter.allow("a", NOW_US)
    assert not limiter.allow("a", NOW_US, hits=0)
    assert limiter.allow("a", NOW_US, hits=-1)
    limiter.take("a", NOW_US, 9)
    assert limiter.look("a", NOW_US).retry_after_us == SECOND_US // 5
    limiter.take("a", NOW_US, -2)
    assert limiter.look("a", NOW_US).remaining == 2
    assert limiter.look("b", NOW_US).remaining == 5
    assert len(table) == 1


@both_tables
def test_limiters_with_other_numbers_share_the_count(make: type[AnyTable]) -> None:
    table = make()
    table.limiter(RULE, LIMIT).spend("ключ", NOW_US, 5)
    assert not table.limiter(RULE, LIMIT).allow("ключ", NOW_US)
    wider = table.limiter(RULE, Limit(Algorithm.TOKEN_BUCKET, 8, SECOND_US))
    assert wider.spend("ключ", NOW_US, 1).remaining == 2


@both_tables
def test_time_goes_on_by_itself(make: type[AnyTable]) -> None:
    limiter = make().limiter(RULE, Limit(Algorithm.TOKEN_BUCKET, 1, 3600 * SECOND_US))
    before_us = time.time_ns() // 1000
    assert limiter.allow("a")
    retry_after_us = limiter.spend("a").retry_after_us
    assert retry_after_us is not None
    assert 0 <= 3600 * SECOND_US - retry_after_us <= time.time_ns() // 1000 - before_us + SECOND_US
    # It is the time of day.
    assert not limiter.allow("a", before_us)
    assert limiter.allow("a", before_us + 3700 * SECOND_US)


@both_tables
def test_many_keys_are_decided_in_order(make: type[AnyTable]) -> None:
    limiter = make().limiter(RULE, LIMIT)
    limiter.spend("k000", NOW_US, 4)
    names = [f"k{number % 100:03}" for number in range(600)]
    answers = limiter.allow_many("".join(names).encode(), 4, NOW_US)
    assert answers == bytes(
        names[: index + 1].count(name) <= (1 if name == "k000" else 5) for index, name in enumerate(names)
    )
    assert limiter.allow_many(b"", 4, NOW_US) == b""
    assert limiter.allow_many(b"new!", 4, NOW_US, 6) == b"\0"


@both_tables
@pytest.mark.parametrize(("keys", "width", "hits"), [(b"abc", 2, 1), (b"", 0, 1), (b"ab", 2, 0), (b"ab", -1, 1)])
def test_keys_of_another_width_are_refused(make: type[AnyTable], keys: bytes, width: int, hits: int) -> None:
    with pytest.raises(ValueError, match="of one width"):
        make().limiter(RULE, LIMIT).allow_many(keys, width, NOW_US, hits)


@both_tables
@pytest.mark.parametrize(("hits", "now_us"), [(1, -1), (1, 2**63), (2**63, 0), (-(2**63), 0)])
def test_numbers_out_of_range_are_refused(make: type[AnyTable], hits: int, now_us: int) -> None:
    table = make()
    limiter = table.limiter(RULE, LIMIT)
    for operation in (limiter.spend, limiter.allow, limiter.take):
        with pytest.raises(OverflowError):
            operation("a", now_us, hits)
    assert len(table) == 0


@both_tables
def test_a_key_is_text(make: type[AnyTable]) -> None:
    limiter = make().limiter(RULE, LIMIT)
    with pytest.raises(UnicodeEncodeError):
        limiter.allow("\ud800", NOW_US)


@both_tables
def test_a_full_table_holds_here_too(make: type[AnyTable]) -> None:
    table = make(3)
    limiter = table.limiter(RULE, LIMIT)
    for key in "abc":
        assert limiter.spend(key, NOW_US, 5).remaining == 0
    assert limiter.allow("d", NOW_US, hits=3)
    assert limiter.spend("e", NOW_US, 2).remaining == 0
    assert not limiter.allow("f", NOW_US)
    assert len(table) == 3
