"""Protobuf to values and back, for LinkService."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert import create_from_proto, fingerprinted, resolve_to_proto, update_from_proto
from gateway.redirects import NOT_FOUND, Answer
from gateway.requests import CHANGEABLE, Content, CreateLink
from waypost.api.v1 import link_service_pb2 as pb
from waypost.model import LinkState


def test_absent_fields_are_absent() -> None:
    expected = CreateLink(Content("https://example.org"))
    assert create_from_proto(pb.CreateLinkRequest(url="https://example.org")) == expected


def test_all_fields() -> None:
    request = pb.CreateLinkRequest(
        url="https://example.org",
        alias="spring",
        title="Spring",
        tags=["a", "b"],
        ttl_seconds=5,
        max_clicks=7,
        redirect_status=301,
        forward_query=True,
        request_id="id",
    )
    content = Content("https://example.org", "Spring", ("a", "b"), None, 5, 7, 301, True)
    assert create_from_proto(request) == CreateLink(content, "spring")


def test_id_inside_of_a_batch_is_a_wrong_field() -> None:
    request = pb.CreateLinkRequest(url="x", request_id="id")
    found = create_from_proto(request, in_batch=True)
    assert [violation.field for violation in found.content.malformed] == ["request_id"]
    assert create_from_proto(pb.CreateLinkRequest(url="x"), in_batch=True).content.malformed == ()


def test_ttl_of_zero_is_not_absent() -> None:
    assert create_from_proto(pb.CreateLinkRequest(ttl_seconds=0)).content.ttl_seconds == 0


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
    found = create_from_proto(request).content
    assert (found.expires_at, found.ttl_seconds, found.malformed) == (expected, None, ())


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(253_402_300_800, 0), (-62_135_596_801, 0), (2**63 - 1, 0), (-(2**63), 0), (0, 1_000_000_000), (0, -1)],
)
def test_timestamp_that_is_none_is_told_with_the_rest(seconds: int, nanos: int) -> None:
    request = pb.CreateLinkRequest(url="x", alias="y", expires_at=Timestamp(seconds=seconds, nanos=nanos))
    found = create_from_proto(request)
    assert (found.content.url, found.alias, found.content.expires_at) == ("x", "y", None)
    assert [violation.field for violation in found.content.malformed] == ["expires_at"]


# Updates


def update(**fields: Any) -> pb.UpdateLinkRequest:
    mask = fields.pop("mask", ())
    return pb.UpdateLinkRequest(short_code="spring", update_mask=FieldMask(paths=mask), **fields)


@pytest.mark.parametrize(
    ("request_", "changes"),
    [
        (update(url="x"), {"url"}),
        (update(title=""), {"title"}),
        (update(tags=["a"]), {"tags"}),
        (update(ttl_seconds=5), {"expires_at"}),
        (update(expires_at=Timestamp(seconds=1)), {"expires_at"}),
        (
            update(max_clicks=0, redirect_status=0, forward_query=False),
            {"max_clicks", "redirect_status", "forward_query"},
        ),
        (update(url="x", title="y", tags=["z"]), {"url", "title", "tags"}),
        (update(mask=["title"]), {"title"}),
        (update(mask=["title"], url="x"), {"title"}),
        (update(mask=["ttl_seconds", "tags"]), {"expires_at", "tags"}),
        (update(mask=["forwardQuery", "expiresAt"]), {"forward_query", "expires_at"}),
        (update(mask=["title", " tags "]), {"title", "tags"}),
        (update(mask=["*"]), set(CHANGEABLE)),
    ],
)
def test_what_is_to_be_changed(request_: pb.UpdateLinkRequest, changes: set[str]) -> None:
    found = update_from_proto(request_)
    assert (found.short_code, set(found.changes), found.content.malformed) == ("spring", changes, ())


def test_values_of_an_update() -> None:
    found = update_from_proto(update(url="x", title="y", tags=["a"], ttl_seconds=5, max_clicks=7, etag="v3"))
    assert found.content == Content("x", "y", ("a",), None, 5, 7)
    assert found.etag == "v3"


@pytest.mark.parametrize("request_", [update(), update(etag="v1", request_id="id")])
def test_update_of_nothing_is_a_mistake(request_: pb.UpdateLinkRequest) -> None:
    assert [violation.field for violation in update_from_proto(request_).content.malformed] == ["update_mask"]


@pytest.mark.parametrize("path", ["short_code", "colour", "", "url.host", "x" * 10_000, "etag", "update_mask", "Url"])
def test_mask_of_unknown_fields_is_a_mistake(path: str) -> None:
    (violation,) = update_from_proto(update(mask=["title", path])).content.malformed
    assert violation.field == "update_mask"
    assert "forward_query" in violation.description


# Fingerprints


def test_fingerprint_is_of_everything_but_the_key() -> None:
    request = pb.CreateLinkRequest(url="x", request_id="1")
    assert fingerprinted(request) == fingerprinted(pb.CreateLinkRequest(url="x", request_id="2"))
    assert fingerprinted(request) != fingerprinted(pb.CreateLinkRequest(url="y", request_id="1"))
    assert request.request_id == "1", "the request stays as it is"
    batch = pb.BatchCreateLinksRequest(requests=[request], request_id="1")
    assert fingerprinted(batch) != fingerprinted(pb.BatchCreateLinksRequest(requests=[request, request]))


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
