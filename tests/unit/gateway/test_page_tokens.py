"""Page tokens: they come back as they went, and no others are taken."""

from __future__ import annotations

import base64
import hashlib
import string
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.filters import parse_filter, parse_order
from gateway.listing import list_query, next_page_token
from gateway.page_tokens import BINDING_BYTES, binding_of, decode, encode
from waypost.errors import InvalidFields
from waypost.listing import Cursor, LinkFilter, ListQuery, Order, OrderField
from waypost.page_tokens import MAX_TOKEN_CHARS

WORKSPACE = UUID(int=1)
BY_TIME = binding_of(WORKSPACE, LinkFilter(), Order())
BY_CODE = binding_of(WORKSPACE, LinkFilter(), Order(OrderField.SHORT_CODE))
CURSOR = Cursor(datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC), 12345)
TOKEN = encode(CURSOR, BY_TIME)

ALPHABET = string.ascii_letters + string.digits + "-_"
NO_TOKEN = "is no token of this server"
OTHER = "came with another filter or order"

IDS = st.integers(1, 2**63 - 1)
TIMES = st.datetimes(timezones=st.just(UTC))
CODES = st.text(ALPHABET, min_size=3, max_size=64)


def refusal(token: str, binding: bytes = BY_TIME) -> str:
    with pytest.raises(InvalidFields) as caught:
        decode(token, binding)
    (violation,) = caught.value.violations
    assert violation.field == "page_token"
    assert violation.description.isascii()
    return violation.description


def bound(filter_text: str, order_by: str, workspace: UUID = WORKSPACE) -> bytes:
    return binding_of(workspace, parse_filter(filter_text), parse_order(order_by))


def sealed(body: bytes) -> str:
    """A token with a right checksum, as somebody who has read the code could make one."""
    check = hashlib.blake2b(body, digest_size=6, person=b"waypost page").digest()
    return base64.urlsafe_b64encode(body + check).decode().rstrip("=")


@given(TIMES, IDS)
def test_a_time_comes_back_to_the_microsecond(key: datetime, row_id: int) -> None:
    assert decode(encode(Cursor(key, row_id), BY_TIME), BY_TIME) == Cursor(key, row_id)


@given(CODES, IDS)
def test_a_code_comes_back(key: str, row_id: int) -> None:
    token = encode(Cursor(key, row_id), BY_CODE)
    assert decode(token, BY_CODE) == Cursor(key, row_id)
    assert len(token) <= MAX_TOKEN_CHARS


@pytest.mark.parametrize(
    "key",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
)
def test_times_at_the_ends_come_back(key: datetime) -> None:
    cursor = Cursor(key, 1)
    assert decode(encode(cursor, BY_TIME), BY_TIME) == cursor


def test_a_token_stays_the_same_from_release_to_release() -> None:
    assert decode("AXQUCem1c-XL1VG1UOUAAAAAAAAwOQAGTCvHGUZDtEiDqyz2", BY_TIME) == CURSOR
    assert TOKEN == "AXQUCem1c-XL1VG1UOUAAAAAAAAwOQAGTCvHGUZDtEiDqyz2"


def test_a_token_needs_no_escaping_in_a_url() -> None:
    assert set(TOKEN) <= set(ALPHABET)


def test_no_character_of_a_token_may_differ() -> None:
    for token, binding in ((TOKEN, BY_TIME), (encode(Cursor("abc-_1X", 7), BY_CODE), BY_CODE)):
        for place, char in enumerate(token):
            for other in ALPHABET.replace(char, ""):
                assert NO_TOKEN in refusal(token[:place] + other + token[place + 1 :], binding)


@pytest.mark.parametrize("end", range(len(TOKEN)))
def test_no_part_of_a_token_is_one(end: int) -> None:
    assert NO_TOKEN in refusal(TOKEN[:end])
    assert NO_TOKEN in refusal(TOKEN[end + 1 :])


@pytest.mark.parametrize(
    "token",
    [
        TOKEN + "A",
        TOKEN + "=",
        TOKEN + "==",
        TOKEN + "\n",
        " " + TOKEN,
        TOKEN + TOKEN,
        TOKEN.replace("-", "+"),
        "%41" + TOKEN[1:],
        "２" * 48,
        "\ud800",
        "\x00",
        "50",
        "A" * MAX_TOKEN_CHARS,
        "A" * (MAX_TOKEN_CHARS + 1),
        "A" * 4_000_000,
    ],
)
def test_other_texts_are_no_tokens(token: str) -> None:
    assert NO_TOKEN in refusal(token)


@given(
    st.text()
    | st.text(ALPHABET, max_size=120)
    | st.binary(max_size=90).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_whatever_comes_is_refused_in_words(token: str) -> None:
    assert NO_TOKEN in refusal(token)


@given(st.binary(max_size=90), st.sampled_from([BY_TIME, BY_CODE]))
def test_what_follows_a_right_head_is_read_or_refused(rest: bytes, binding: bytes) -> None:
    token = sealed(b"\x01" + binding + rest)
    try:
        cursor = decode(token, binding)
    except InvalidFields:
        return
    assert encode(cursor, binding) == token


@pytest.mark.parametrize(
    ("version", "row_id", "key"),
    [
        (0, 1, bytes(8)),
        (2, 1, bytes(8)),
        (1, 0, bytes(8)),
        (1, 2**63, bytes(8)),
        (1, 1, bytes(7)),
        (1, 1, bytes(9)),
        (1, 1, b""),
        (1, 1, struct.pack(">q", 2**63 - 1)),
        (1, 1, struct.pack(">q", -(2**63))),
    ],
)
def test_forged_tokens_ask_the_database_nothing_odd(version: int, row_id: int, key: bytes) -> None:
    assert NO_TOKEN in refusal(sealed(struct.pack(">B13sQ", version, BY_TIME, row_id) + key))


@pytest.mark.parametrize("key", [b"", b"a" * 65, b"a b", b"\x00ab", "é".encode(), b"abc\n"])
def test_forged_codes_are_refused(key: bytes) -> None:
    assert NO_TOKEN in refusal(sealed(struct.pack(">B13sQ", 1, BY_CODE, 1) + key), BY_CODE)


ALIKE = [
    ("", "", "", "created_at desc"),
    ("tag = a", "created_at", "tag=a", " created_at "),
    ("text : Report", "", 'text : "REPORT"', ""),
    ('created_at > "2026-01-31T00:00:00Z"', "", 'created_at >= "2026-01-31T01:00:00.000001+01:00"', ""),
    ("tag=a AND tag=b", "", "tag=a and tag = b AND tag=a", ""),
]


@pytest.mark.parametrize(("filter_text", "order_by", "filter_text2", "order_by2"), ALIKE)
def test_what_asks_for_the_same_is_bound_alike(
    filter_text: str, order_by: str, filter_text2: str, order_by2: str
) -> None:
    assert bound(filter_text, order_by) == bound(filter_text2, order_by2)


DIFFERENT = [
    *(("", order) for order in ("", "created_at", "updated_at", "updated_at desc", "short_code", "short_code desc")),
    *((f"state = {state}", "") for state in ("active", "warned", "expired", "exhausted", "blocked", "deleted")),
    *(
        ("tag=a", ""),
        ("tag=A", ""),
        ("tag=a AND tag=b", ""),
        ('tag="a AND tag = b"', ""),
        ("text:a", ""),
        ("text:ab", ""),
    ),
    *(
        ("text:ab*", ""),
        ('text:"a b"', ""),
        ('created_at>="2026-01-31T00:00:00Z"', ""),
        ('created_at<"2026-01-31T00:00:00Z"', ""),
    ),
]


def test_what_asks_for_something_else_is_bound_differently() -> None:
    bindings = {bound(*asked) for asked in DIFFERENT} | {bound("", "", UUID(int=2))}
    assert len(bindings) == len(DIFFERENT) + 1
    assert {len(binding) for binding in bindings} == {BINDING_BYTES}


@pytest.mark.parametrize(("filter_text", "order_by"), DIFFERENT[1:])
def test_a_token_of_another_list_is_told_from_garbage(filter_text: str, order_by: str) -> None:
    binding = bound(filter_text, order_by)
    assert OTHER in refusal(TOKEN, binding)
    cursor = Cursor("abc", 1) if order_by.startswith("short_code") else CURSOR
    assert OTHER in refusal(encode(cursor, binding))


def test_a_token_of_another_workspace_is_refused() -> None:
    assert OTHER in refusal(encode(CURSOR, bound("", "", UUID(int=2))))


def test_a_key_of_the_wrong_kind_is_a_defect() -> None:
    with pytest.raises(ValueError, match="not of the order's kind"):
        encode(Cursor("abc", 1), BY_TIME)
    with pytest.raises(ValueError, match="not of the order's kind"):
        encode(CURSOR, BY_CODE)


def test_a_list_is_read_page_by_page() -> None:
    first = list_query(WORKSPACE, filter_text="tag = a", order_by="", size=0, page_token="")
    assert first == ListQuery(LinkFilter(tags=("a",)), Order(), 50, None)
    token = next_page_token(WORKSPACE, first, CURSOR)
    # The size is free to change from page to page.
    second = list_query(WORKSPACE, filter_text="tag=a", order_by="created_at desc", size=9, page_token=token)
    assert second == ListQuery(LinkFilter(tags=("a",)), Order(), 9, CURSOR)


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(InvalidFields) as caught:
        list_query(WORKSPACE, filter_text="x", order_by="y", size=-1, page_token="z")
    assert [violation.field for violation in caught.value.violations] == ["page_size", "filter", "order_by"]
    with pytest.raises(InvalidFields) as caught:
        list_query(WORKSPACE, filter_text="", order_by="", size=-1, page_token="z")
    assert [violation.field for violation in caught.value.violations] == ["page_size", "page_token"]


def test_a_cursor_a_microsecond_later_is_another_token() -> None:
    assert isinstance(CURSOR.key, datetime)
    assert encode(Cursor(CURSOR.key + timedelta(microseconds=1), CURSOR.id), BY_TIME) != TOKEN
