"""Requests of any kind, made up from the contract: every field of every message, with texts from a given stock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

_NUMBERS = (0, 1, 2, 5, -1, 302, 2**31 - 1)
_PATHS = ("url", "title", "tags", "*", "state", "blocked", "workspace_id", "short_code", "etag", "max_clicks")


def messages(descriptor: Descriptor, texts: Sequence[str]) -> st.SearchStrategy[Message]:
    """Messages of this type; each field is there or not. All texts are of `texts`."""
    kind = GetMessageClass(descriptor)
    if kind.DESCRIPTOR.full_name == Timestamp.DESCRIPTOR.full_name:
        return st.integers(-(2**40), 2**40).map(lambda seconds: Timestamp(seconds=seconds))
    if kind.DESCRIPTOR.full_name == FieldMask.DESCRIPTOR.full_name:
        return st.lists(st.sampled_from(_PATHS), max_size=3).map(lambda paths: FieldMask(paths=paths))

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        message = kind()
        for field in descriptor.fields:
            if draw(st.booleans()):
                _fill(draw, message, field, texts)
        return message

    return build()


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, texts: Sequence[str]) -> None:
    one = _value(field, texts)
    if field.is_repeated:
        values = draw(st.lists(one, max_size=3))
        getattr(message, field.name).extend(values)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(draw(one))
    else:
        setattr(message, field.name, draw(one))


def _value(field: FieldDescriptor, texts: Sequence[str]) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, texts)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(texts)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    numbers = _NUMBERS if field.type in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64) else (0, 1, 7)
    return st.sampled_from(numbers)
