"""Page tokens of reports and blocked links: they come back as they went, and no others are taken."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import page_tokens as links
from gateway.abuse.page_tokens import decode, encode, is_row_number, is_uuid
from gateway.filters import parse_filter, parse_order
from waypost.abuse import Place
from waypost.errors import InvalidFields
from waypost.listing import Cursor
from waypost.page_tokens import seal, unseal

AT = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
REPORT = Place(AT, str(UUID(int=7)))
TOKEN = encode(REPORT, "reports", False, "")
OTHER = "came with other arguments"
NO_TOKEN = "is no token of this server"


def refusal(token: str, *bound: object) -> str:
    with pytest.raises(InvalidFields) as caught:
        decode(token, is_uuid, *(bound or ("reports", False, "")))
    (violation,) = caught.value.violations
    assert violation.field == "page_token"
    assert violation.description.isascii()
    return violation.description


@given(st.datetimes(timezones=st.just(UTC)), st.uuids(), st.booleans(), st.text(max_size=10))
def test_a_report_comes_back(at: datetime, id: UUID, closed: bool, code: str) -> None:
    place = Place(at, str(id))
    assert decode(encode(place, "reports", closed, code), is_uuid, "reports", closed, code) == place


@given(st.datetimes(timezones=st.just(UTC)), st.integers(1, 2**63 - 1))
def test_a_blocked_link_comes_back(at: datetime, id: int) -> None:
    place = Place(at, str(id))
    assert decode(encode(place, "blocked"), is_row_number, "blocked") == place


@pytest.mark.parametrize("bound", [("reports", True, ""), ("reports", False, "abc1234"), ("blocked links",)])
def test_a_token_belongs_to_its_list(bound: tuple[object, ...]) -> None:
    assert refusal(TOKEN, *bound).startswith(OTHER)


@given(st.text(max_size=100))
def test_other_texts_are_no_tokens(text: str) -> None:
    assert refusal(text).startswith(NO_TOKEN)


@pytest.mark.parametrize(
    "token",
    [
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN + "=",
        TOKEN[1:],
        TOKEN.swapcase(),
        links.encode(
            Cursor(AT, 5),
            links.binding_of(UUID(int=1), parse_filter(""), parse_order("")),
        ),
        seal(b""),
        seal(b"\x08"),
        seal(b"\x08" + b"x" * 15),
    ],
)
def test_what_is_near_a_token_is_none(token: str) -> None:
    assert refusal(token).startswith(NO_TOKEN)


@pytest.mark.parametrize("id", ["", "nonsense", "12", "\x00", "{00000000-0000-0000-0000-000000000007}", "7" * 32])
def test_a_forged_id_is_refused(id: str) -> None:
    """Somebody who has read the code may seal what they like."""
    assert refusal(encode(Place(AT, id), "reports", False, "")).startswith(NO_TOKEN)


def test_a_forged_time_is_refused() -> None:
    body = bytearray(unseal(TOKEN))
    for number in (2**63 - 1, -(2**63)):
        body[9:17] = struct.pack(">q", number)
        assert refusal(seal(bytes(body))).startswith(NO_TOKEN)
    assert refusal(seal(bytes(body[:17]) + b"\xff" * 36), "blocked").startswith(OTHER)


def test_numbers_of_rows() -> None:
    assert all(map(is_row_number, ("1", "42", str(2**63 - 1))))
    assert not any(map(is_row_number, ("", "0", "-1", "01", " 1", "1\n", "١", str(2**63), "9" * 30, "1e3", "x")))
