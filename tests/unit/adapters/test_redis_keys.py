"""Names of counters in Redis: no two share one, and those of a domain share a slot."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from waypost.adapters.redis_keys import LONGEST, counter_key, tag

texts = st.one_of(st.text(max_size=5), st.sampled_from(["", "1:a", "2;", "}", "{", "a\0b", "x" * 600]))
counters = st.tuples(texts, st.lists(texts, max_size=3).map(tuple), st.lists(texts, max_size=3).map(tuple))


@given(counters, counters)
def test_two_counters_share_a_name_only_if_they_are_one(
    one: tuple[str, tuple[str, ...], tuple[str, ...]], other: tuple[str, tuple[str, ...], tuple[str, ...]]
) -> None:
    assert (counter_key(*one) == counter_key(*other)) == (one == other)


def test_texts_do_not_run_together() -> None:
    split = [(("a",), ("b",)), (("a", "b"), ()), ((), ("a", "b")), (("ab",), ()), (("a",), ("", "b")), (("a1:b",), ())]
    assert len({counter_key("d", rule, values) for rule, values in split}) == len(split)


@given(st.text(max_size=20), counters)
def test_a_domain_is_one_slot(domain: str, counter: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    key = counter_key(domain, counter[1], counter[2])
    assert key.startswith(b"wp:{%s}:" % tag(domain).encode())
    assert key_slot(key) == key_slot(tag(domain).encode())


@pytest.mark.parametrize("domain", ["", "}", "a}b", "{", "a b", "ä", "a\n", "x" * 256])
def test_an_odd_domain_is_named_by_a_digest(domain: str) -> None:
    assert tag(domain).startswith("~")
    # Which no plain domain can be.
    assert tag(tag(domain)) != tag(domain)


def test_a_plain_domain_can_be_read() -> None:
    assert counter_key("shop", ("rule",), ("user", "ä")) == "wp:{shop}:1;4:rule4:user2:ä".encode()


def test_a_long_name_is_a_digest() -> None:
    shortest = next(n for n in itertools.count() if len(counter_key("d", ("r",), ("v" * n,))) < len("wp:{d}:") + n)
    assert LONGEST - 20 < shortest < LONGEST + 1
    key = counter_key("d", ("r",), ("v" * 5000,))
    assert key.startswith(b"wp:{d}:#")
    assert len(key) == len(b"wp:{d}:#") + 64
