"""What commands print as JSON: as the API itself has it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from waypost.api.v1 import (
    abuse_service_pb2,
    audit_service_pb2,
    key_service_pb2,
    member_service_pb2,
    workspace_service_pb2,
)
from waypost.cli.abuse.blocks import blocked_object
from waypost.cli.abuse.reports import report_object
from waypost.cli.audit.events import event_object
from waypost.cli.identity.show import caller_object, key_object, member_object, workspace_object
from waypost.client import identity_convert
from waypost.client.abuse_convert import blocked_from_proto, report_from_proto

AT = datetime(2031, 1, 1, 12, 30, tzinfo=UTC)

OBJECTS: dict[type[Message], Callable[[Any], dict[str, Any]]] = {
    workspace_service_pb2.Caller: lambda message: caller_object(identity_convert.caller_from_proto(message)),
    workspace_service_pb2.Workspace: lambda message: workspace_object(identity_convert.workspace_from_proto(message)),
    member_service_pb2.Member: lambda message: member_object(identity_convert.member_from_proto(message)),
    key_service_pb2.Key: lambda message: key_object(identity_convert.key_from_proto(message)),
    audit_service_pb2.AuditEvent: lambda message: event_object(identity_convert.event_from_proto(message)),
    abuse_service_pb2.Report: lambda message: report_object(report_from_proto(message)),
    abuse_service_pb2.BlockedLink: lambda message: blocked_object(blocked_from_proto(message)),
}


def filled(kind: type[Message], names: set[str]) -> Message:
    """A message in which these fields have a value."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.name not in names:
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp":
            value.FromDatetime(AT)
        elif field.name == "details":
            value["k"] = "é"
        elif field.name == "scopes":
            value.extend(["a", "b"])
        else:
            kinds: dict[int, object] = {FieldDescriptor.TYPE_STRING: "é", FieldDescriptor.TYPE_BOOL: True}
            setattr(message, field.name, kinds.get(field.type, 1))
    return message


@pytest.mark.parametrize("kind", OBJECTS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_each_is_the_same_json_as_the_apis(kind: type[Message]) -> None:
    names = {field.name for field in kind.DESCRIPTOR.fields}
    always = {"created_at", "occurred_at"} & names
    if kind is abuse_service_pb2.Report:
        # What is reported without a category counts as another.
        always |= {"category"}
    for chosen in (set(), names, *({name} for name in names)):
        message = filled(kind, chosen | always)
        wanted = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        assert OBJECTS[kind](message) == wanted, chosen


def test_a_role_that_only_a_newer_server_knows_has_no_name() -> None:
    key = key_service_pb2.Key.FromString(key_service_pb2.Key(role=99).SerializeToString())  # type: ignore[arg-type]
    assert OBJECTS[key_service_pb2.Key](key)["role"] == "ROLE_UNSPECIFIED"
