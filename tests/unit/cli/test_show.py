"""Links in JSON: as the API itself has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.json_format import MessageToDict

from waypost.api.v1 import link_service_pb2 as pb
from waypost.cli.show import link_object, resolution_card, resolution_object, timestamp
from waypost.client import LinkState, Resolution
from waypost.client.convert import link_from_proto, resolution_from_proto

AT = datetime(2031, 1, 1, 12, 30, tzinfo=UTC)


def test_a_link_is_the_same_json_as_the_apis() -> None:
    for number in range(2 ** len(pb.Link.DESCRIPTOR.fields)):
        # Every field present, none, and each alone.
        if number.bit_count() not in (0, 1, len(pb.Link.DESCRIPTOR.fields)):
            continue
        link = pb.Link()
        for place, field in enumerate(pb.Link.DESCRIPTOR.fields):
            if not number >> place & 1:
                continue
            if field.name in ("created_at", "updated_at", "expires_at"):
                getattr(link, field.name).FromDatetime(AT)
            elif field.name in ("tags", "destination_flags"):
                getattr(link, field.name).extend(["a"] if field.name == "tags" else [1, 6])
            else:
                kinds = {field.TYPE_STRING: "é", field.TYPE_BOOL: True}
                setattr(link, field.name, kinds.get(field.type, 3))
        wanted = MessageToDict(link, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        # Every link has them.
        never = dict.fromkeys(("created_at", "updated_at"), "1970-01-01T00:00:00Z")
        assert link_object(link_from_proto(link)) == never | wanted


def test_a_resolution_is_the_same_json_as_protobufs() -> None:
    answer = pb.ResolveLinkResponse(
        short_code="talk", http_status=302, location="https://x/", state=pb.LINK_STATE_ACTIVE
    )
    answer.valid_for.FromTimedelta(timedelta(seconds=90))
    wanted = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert resolution_object(resolution_from_proto(answer)) == wanted


@pytest.mark.parametrize(
    ("status", "state", "shown"),
    [
        (302, LinkState.ACTIVE, True),
        (410, LinkState.EXHAUSTED, False),
        (404, None, False),
        (200, LinkState.WARNED, False),
    ],
)
def test_a_redirect_whose_destination_is_not_told_says_why(status: int, state: LinkState | None, shown: bool) -> None:
    card = resolution_card(Resolution("talk", status, "", state, None))
    assert ("location     (destination told only for a click: the link has max_clicks)" in card) is shown
    assert "told only" not in resolution_card(Resolution("talk", status, "https://x/", state, None))


@pytest.mark.parametrize("microsecond", [0, 1, 10, 1000, 250_000, 999_999])
def test_times_have_the_digits_that_they_need(microsecond: int) -> None:
    at = AT.replace(microsecond=microsecond)
    message = pb.Link()
    message.created_at.FromDatetime(at)
    assert timestamp(at) == message.created_at.ToJsonString()
