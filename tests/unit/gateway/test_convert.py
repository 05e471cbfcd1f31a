"""Protobuf to values and back, for LinkService."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert import create_from_proto, resolve_to_proto
from gateway.handlers import CreateLink
from gateway.redirects import NOT_FOUND, Answer
from waypost.api.v1 import link_service_pb2 as pb
from waypost.model import LinkState


def test_absent_fields_are_absent() -> None:
    assert create_from_proto(pb.CreateLinkRequest(url="https://example.org")) == CreateLink("https://example.org")


def test_all_fields() -> None:
    request = pb.CreateLinkRequest(url="https://example.org", alias="spring", ttl_seconds=5, redirect_status=301)
    assert create_from_proto(request) == CreateLink("https://example.org", "spring", None, 5, 301)


def test_ttl_of_zero_is_not_absent() -> None:
    assert create_from_proto(pb.CreateLinkRequest(ttl_seconds=0)).ttl_seconds == 0


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_780_315_200, 123_456_789, datetime(2026, 6, 1, 12, 0, 0, 123_456, tzinfo=UTC)),
        (-62_135_596_800, 0, datetime(1, 1, 1, tzinfo=UTC)),
        (253_402_300_799, 999_999_999, datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_timestamp(seconds: int, nanos: int, expected: datetime) -> None:
    request = pb.CreateLinkRequest(expires_at=Timestamp(seconds=seconds, nanos=nanos))
    found = create_from_proto(request)
    assert (found.expires_at, found.ttl_seconds, found.malformed) == (expected, None, ())


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(253_402_300_800, 0), (-62_135_596_801, 0), (2**63 - 1, 0), (-(2**63), 0), (0, 1_000_000_000), (0, -1)],
)
def test_timestamp_that_is_none_is_told_with_the_rest(seconds: int, nanos: int) -> None:
    request = pb.CreateLinkRequest(url="x", alias="y", expires_at=Timestamp(seconds=seconds, nanos=nanos))
    found = create_from_proto(request)
    assert (found.url, found.alias, found.expires_at) == ("x", "y", None)
    assert [violation.field for violation in found.malformed] == ["expires_at"]


@pytest.mark.parametrize("state", list(LinkState))
def test_state_has_a_name(state: LinkState) -> None:
    response = resolve_to_proto("abc1234", Answer(410, state=state))
    assert pb.LinkState.Name(response.state) == f"LINK_STATE_{state.name}"


def test_foretold_redirect() -> None:
    answer = Answer(307, "https://example.org/", LinkState.ACTIVE, timedelta(seconds=1, microseconds=5))
    response = resolve_to_proto("abc1234", answer)
    assert (response.short_code, response.http_status, response.location) == ("abc1234", 307, "https://example.org/")
    assert response.valid_for.ToTimedelta() == answer.valid_for
    assert not resolve_to_proto("abc1234", Answer(302, "x", LinkState.ACTIVE)).HasField("valid_for")


def test_foretold_absence() -> None:
    response = resolve_to_proto("abc1234", NOT_FOUND)
    assert (response.http_status, response.location, response.state) == (404, "", pb.LINK_STATE_UNSPECIFIED)
