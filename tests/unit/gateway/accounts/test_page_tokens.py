"""Page tokens of accounts: they come back as they went, and no others are taken."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import page_tokens
from gateway.accounts.page_tokens import BINDING_BYTES, PageTokens
from gateway.filters import parse_filter, parse_order
from waypost.accounts import KeyPlace
from waypost.audit import AuditPlace
from waypost.errors import InvalidFields
from waypost.listing import Cursor
from waypost.page_tokens import MAX_TOKEN_CHARS, seal

TOKENS = PageTokens("things", UUID(int=1), "a")
TIMES = st.datetimes(timezones=st.just(UTC))
KEY_IDS = st.text(string.ascii_letters + string.digits, min_size=16, max_size=16)
SUBJECTS = st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=255)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

READERS: list[Callable[[str], Any]] = [TOKENS.workspace, TOKENS.member, TOKENS.key, TOKENS.event]


def refused(read: Callable[[str], Any], token: str) -> str:
    with pytest.raises(InvalidFields) as caught:
        read(token)
    (violation,) = caught.value.violations
    assert violation.field == "page_token"
    return violation.description


@given(st.uuids(), SUBJECTS, TIMES, KEY_IDS, st.integers(1, 2**63 - 1))
def test_places_come_back(workspace_id: UUID, subject: str, at: datetime, key_id: str, event_id: int) -> None:
    assert TOKENS.workspace(TOKENS.of_workspace(workspace_id)) == workspace_id
    assert TOKENS.member(TOKENS.of_member(subject)) == subject
    assert TOKENS.key(TOKENS.of_key(KeyPlace(at, key_id))) == KeyPlace(at, key_id)
    assert TOKENS.event(TOKENS.of_event(AuditPlace(at, event_id))) == AuditPlace(at, event_id)


def test_no_token_is_the_first_page() -> None:
    assert [read("") for read in READERS] == [None, "", None, None]


def test_the_longest_subject_fits() -> None:
    assert len(TOKENS.of_member("x" * 255)) <= MAX_TOKEN_CHARS


@pytest.mark.parametrize(
    "other",
    [
        PageTokens("others", UUID(int=1), "a"),
        PageTokens("things", UUID(int=2), "a"),
        PageTokens("things", UUID(int=1), "b"),
        PageTokens("things", UUID(int=1), "a", ""),
        PageTokens("things", UUID(int=1), None),
        PageTokens("things", UUID(int=1), "", "a"),
    ],
)
def test_a_token_of_other_arguments_is_refused(other: PageTokens) -> None:
    assert "other arguments" in refused(TOKENS.member, other.of_member("ann"))


@pytest.mark.parametrize("read", READERS, ids=["workspace", "member", "key", "event"])
@given(st.text(max_size=50) | st.text(string.ascii_letters + string.digits + "-_", max_size=600))
def test_what_is_no_token_is_refused(read: Callable[[str], Any], text: str) -> None:
    if text:
        assert "no token of this server" in refused(read, text)


@pytest.mark.parametrize("read", READERS, ids=["workspace", "member", "key", "event"])
@given(st.binary(max_size=40))
def test_who_makes_tokens_by_themselves_gets_no_further_than_a_place(read: Callable[[str], Any], place: bytes) -> None:
    binding = TOKENS._binding
    try:
        found = read(seal(b"\x02" + binding + place))
    except InvalidFields:
        return
    match found:
        case UUID():
            assert found.bytes == place
        case str():
            assert found.encode() == place
        case KeyPlace():
            assert found.created_at.tzinfo is UTC
            assert found.key_id.isalnum()
        case AuditPlace():
            assert 1 <= found.event_id < 2**63
        case _:
            raise AssertionError(found)


def test_tokens_of_links_are_not_taken_nor_these_by_links() -> None:
    binding = page_tokens.binding_of(UUID(int=1), parse_filter(""), parse_order(""))
    of_links = page_tokens.encode(Cursor(NOW, 7), binding)
    for read in READERS:
        assert "no token of this server" in refused(read, of_links)
    of_keys = TOKENS.of_key(KeyPlace(NOW, "A" * 16))
    assert "no token of this server" in refused(lambda token: page_tokens.decode(token, binding), of_keys)


def test_a_binding_is_as_long_as_it_says() -> None:
    assert len(TOKENS._binding) == BINDING_BYTES
