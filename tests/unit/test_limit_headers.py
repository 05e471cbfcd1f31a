"""What callers are told of a limit in headers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.structured_fields import parse_list, told_limit
from waypost.limit_headers import MAX_NAME, limit_headers
from waypost.model import Budget


def test_both_forms() -> None:
    assert limit_headers("waypost.route_class_create.principal", Budget(30, 60.0, 4, 1.2)) == {
        "x-ratelimit-limit": '30, 30;w=60;name="waypost.route_class_create.principal"',
        "x-ratelimit-remaining": "4",
        "x-ratelimit-reset": "2",
        "ratelimit": '"waypost.route_class_create.principal";r=4;t=2',
        "ratelimit-policy": '"waypost.route_class_create.principal";q=30;w=60',
    }


@given(
    st.text(max_size=300),
    st.integers(0, 2**32 - 1),
    st.floats(0.001, 3e9),
    st.integers(0, 2**32 - 1),
    st.floats(0, 3e9),
)
def test_whatever_a_rule_is_called_and_says_it_is_a_header(
    rule: str, limit: int, window: float, remaining: int, reset: float
) -> None:
    headers = limit_headers(rule, Budget(limit, window, remaining, reset))
    for value in headers.values():
        assert value.isascii()
        assert value.isprintable()
    name, told, seconds, left, wait = told_limit(headers)
    assert (told, left) == (limit, remaining)
    assert (seconds, wait) == (math.ceil(window), math.ceil(reset))
    assert len(name) <= MAX_NAME


@pytest.mark.parametrize("text", ["", "x", '"x"y', '"x";q', '"x";q=1.5', '"x", ', '"é"', '"a";q=1 "b"', '"a'])
def test_what_is_no_list_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r" of "):
        parse_list(text)


def test_lists_are_read() -> None:
    assert parse_list('"a b";q=30;w=60 , "c\\"";r=0') == {"a b": {"q": 30, "w": 60}, 'c"': {"r": 0}}
