"""Page tokens: where the next page of a list begins, opaque to callers and bound to what the list was asked for. Pure.

A token is base64url without padding of: version (1 byte), binding (`BINDING_BYTES`), the last row's id (8 bytes), its
sort key (a time: 8 bytes, signed microseconds since 1970; a code: its characters), checksum (6 bytes); all big-endian.
It is no secret and carries no right: rows are chosen by the caller's workspace and filter, whatever it says. The
checksum only tells tokens from other texts.
"""

from __future__ import annotations

import hashlib
import re
import struct
from datetime import datetime
from uuid import UUID

from waypost.errors import InvalidFields
from waypost.listing import Cursor, LinkFilter, Order, OrderField, to_text
from waypost.page_tokens import pack_time, refuse, seal, unpack_time, unseal

BINDING_BYTES = 13
"""One for the kind of the sort key, twelve of a digest."""

_VERSION = 1
_TIME, _CODE = b"t", b"c"
_HEAD = struct.Struct(f">B{BINDING_BYTES}sQ")
_SHORT_CODE = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_MAX_ID = 2**63 - 1


def binding_of(workspace_id: UUID, link_filter: LinkFilter, order: Order) -> bytes:
    """What a token is bound to: alike for filters and orders that ask for the same, however they are written."""
    text = f"{workspace_id}\n{order}\n{to_text(link_filter)}"
    kind = _CODE if order.field is OrderField.SHORT_CODE else _TIME
    return kind + hashlib.blake2b(text.encode(), digest_size=BINDING_BYTES - 1, person=b"waypost list").digest()


def encode(cursor: Cursor, binding: bytes) -> str:
    """The token for the page that begins behind `cursor`, whose key is of the kind that `binding` says."""
    if isinstance(cursor.key, datetime):
        kind, key = _TIME, pack_time(cursor.key)
    else:
        kind, key = _CODE, cursor.key.encode("ascii")
    if binding[:1] != kind:
        raise ValueError("the cursor's key is not of the order's kind")
    return seal(_HEAD.pack(_VERSION, binding, cursor.id) + key)


def decode(token: str, binding: bytes) -> Cursor:
    """The cursor of a token. Raises `InvalidFields` for the field `page_token`."""
    body = _body(token)
    _, bound, row_id = _HEAD.unpack_from(body)
    if bound != binding:
        raise InvalidFields.one(
            "page_token",
            "came with another filter or order: send those of the page before, or leave the token out to begin anew",
        )
    if not 1 <= row_id <= _MAX_ID:
        refuse()
    return Cursor(_key(binding[:1], body[_HEAD.size :]), row_id)


def _body(token: str) -> bytes:
    """The token's bytes without the checksum, which is right."""
    body = unseal(token)
    if len(body) < _HEAD.size or body[0] != _VERSION:
        refuse()
    return body


def _key(kind: bytes, raw: bytes) -> datetime | str:
    if kind == _CODE:
        if not _SHORT_CODE.fullmatch(raw):
            refuse()
        return raw.decode("ascii")
    return unpack_time(raw)
