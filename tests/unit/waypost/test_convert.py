"""The model as the contract has it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from waypost.api.v1 import event_pb2, link_service_pb2
from waypost.convert import (
    DESTINATION_FLAGS,
    EVENT_TYPES,
    LINK_STATES,
    etag,
    event_to_proto,
    link_to_proto,
    short_url,
)
from waypost.model import DEFAULT_WORKSPACE, Destination, DestinationFlag, EventType, Link, LinkEvent, LinkState

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
LINK = Link(
    workspace_id=DEFAULT_WORKSPACE,
    short_code="abc1234",
    destination=Destination("https://example.org/", (DestinationFlag.SHORTENER,)),
    blocked=False,
    version=3,
    created_at=NOW - timedelta(days=1),
    updated_at=NOW,
    deleted_at=None,
    expires_at=None,
    redirect_status=302,
)


def test_every_value_of_the_model_has_its_own_in_the_contract() -> None:
    for mapping, values, names in (
        (LINK_STATES, LinkState, link_service_pb2.LinkState.items()),
        (DESTINATION_FLAGS, DestinationFlag, link_service_pb2.DestinationFlag.items()),
        (EVENT_TYPES, EventType, event_pb2.EventType.items()),
    ):
        assert set(mapping) == set(values)
        numbers = {int(number): name for name, number in names}
        assert sorted(mapping.values()) == sorted(numbers)[1:], "all but the unspecified one"
        for value, number in mapping.items():
            assert numbers[number].endswith(value.name)


def test_a_link() -> None:
    message = link_to_proto(LINK, "https://way.example/abc1234", NOW)
    assert message.short_url == "https://way.example/abc1234"
    assert message.updated_at.ToDatetime(UTC) == NOW
    assert not message.HasField("expires_at")
    assert message.state == link_service_pb2.LINK_STATE_ACTIVE
    expired = link_to_proto(replace(LINK, expires_at=NOW), "", NOW)
    assert expired.state == link_service_pb2.LINK_STATE_EXPIRED
    assert expired.expires_at.ToDatetime(UTC) == NOW


def test_another_version_is_another_etag() -> None:
    assert etag(LINK) != etag(replace(LINK, version=4))


def test_an_event() -> None:
    event = event_to_proto(
        LinkEvent(EventType.LINK_UPDATED, LINK, "c", "t"), UUID(int=5), "https://way.example/abc1234"
    )
    assert (event.id, event.subject, event.version) == (str(UUID(int=5)), "abc1234", 3)
    assert (event.correlation_id, event.traceparent) == ("c", "t")
    assert event.occurred_at.ToDatetime(UTC) == NOW
    assert event.link.short_code == "abc1234"


def test_a_short_url_has_one_slash() -> None:
    assert short_url("https://way.example", "a") == short_url("https://way.example/", "a") == "https://way.example/a"
