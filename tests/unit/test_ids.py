"""Correlation ids: what may be one, and what is made where none is."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.ids import correlation_id

ALLOWED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


@given(st.text(ALLOWED, min_size=1, max_size=128))
def test_what_is_allowed_is_kept(text: str) -> None:
    assert correlation_id(text) == text


@given(st.text())
def test_whatever_comes_in_what_goes_out_is_harmless(text: str) -> None:
    found = correlation_id(text)
    assert 1 <= len(found) <= 128
    assert set(found) <= set(ALLOWED)


@pytest.mark.parametrize("text", [None, "", " ", "a b", "a\n", "\na", "a\x00", "é", "a/b", '"', "x" * 129, "١٢٣", "ａ"])
def test_what_is_not_allowed_is_replaced(text: str | None) -> None:
    made = uuid.UUID(correlation_id(text))
    assert (made.version, made.variant, str(made)) == (4, uuid.RFC_4122, correlation_id(str(made)))


def test_the_first_good_one_counts() -> None:
    assert correlation_id(None, "", "not good", "good", "better") == "good"


def test_new_ones_differ() -> None:
    assert len({correlation_id() for _ in range(1000)}) == 1000
