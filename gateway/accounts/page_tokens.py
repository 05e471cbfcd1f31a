"""Page tokens of the lists of accounts: sealed as those of links, and bound to what the list was asked for. Pure.

A token's bytes: version (1 byte), binding (`BINDING_BYTES`), and the place of the last row: a workspace's id (16
bytes), a member's subject, a key's time (8 bytes) and id, or an event's time (8 bytes) and id (8 bytes).
"""

from __future__ import annotations

import hashlib
import re
import struct
from uuid import UUID

import orjson

from gateway.accounts.fields import is_subject
from waypost.accounts import KeyPlace
from waypost.audit import AuditPlace
from waypost.errors import InvalidFields
from waypost.page_tokens import pack_time, refuse, seal, unpack_time, unseal

BINDING_BYTES = 12

_VERSION = 2
_TIME_BYTES = 8
_KEY_ID = re.compile(rb"[A-Za-z0-9]{16}")
_EVENT_ID = struct.Struct(">Q")
_MAX_ID = 2**63 - 1


class PageTokens:
    """The tokens of one list, by its name and what it is asked for: those of others are refused."""

    def __init__(self, name: str, *arguments: object) -> None:
        text = orjson.dumps([name, *arguments], default=str)
        self._binding = hashlib.blake2b(text, digest_size=BINDING_BYTES, person=b"waypost accounts").digest()

    def of_workspace(self, workspace_id: UUID) -> str:
        """The token for the page behind this workspace."""
        return self._encode(workspace_id.bytes)

    def workspace(self, token: str) -> UUID | None:
        """The workspace of a token; None: the first page. Raises `InvalidFields`, as all below."""
        if not token:
            return None
        raw = self._decode(token)
        return UUID(bytes=raw) if len(raw) == 16 else refuse()

    def of_member(self, subject: str) -> str:
        """The token for the page behind this member."""
        return self._encode(subject.encode("ascii"))

    def member(self, token: str) -> str:
        """The subject of a token; empty: the first page."""
        if not token:
            return ""
        subject = self._decode(token).decode("ascii", "replace")
        return subject if is_subject(subject) else refuse()

    def of_key(self, place: KeyPlace) -> str:
        """The token for the page behind this key."""
        return self._encode(pack_time(place.created_at) + place.key_id.encode("ascii"))

    def key(self, token: str) -> KeyPlace | None:
        """The place of a token; None: the first page."""
        if not token:
            return None
        raw = self._decode(token)
        if not _KEY_ID.fullmatch(raw[_TIME_BYTES:]):
            refuse()
        return KeyPlace(unpack_time(raw[:_TIME_BYTES]), raw[_TIME_BYTES:].decode("ascii"))

    def of_event(self, place: AuditPlace) -> str:
        """The token for the page behind this event."""
        return self._encode(pack_time(place.occurred_at) + _EVENT_ID.pack(place.event_id))

    def event(self, token: str) -> AuditPlace | None:
        """The place of a token; None: the first page."""
        if not token:
            return None
        raw = self._decode(token)
        if len(raw) != _TIME_BYTES + _EVENT_ID.size:
            refuse()
        (event_id,) = _EVENT_ID.unpack(raw[_TIME_BYTES:])
        if not 1 <= event_id <= _MAX_ID:
            refuse()
        return AuditPlace(unpack_time(raw[:_TIME_BYTES]), event_id)

    def _encode(self, place: bytes) -> str:
        return seal(bytes([_VERSION]) + self._binding + place)

    def _decode(self, token: str) -> bytes:
        body = unseal(token)
        if len(body) <= BINDING_BYTES or body[0] != _VERSION:
            refuse()
        if body[1 : BINDING_BYTES + 1] != self._binding:
            raise InvalidFields.one(
                "page_token",
                "came with other arguments: send those of the page before, or leave the token out to begin anew",
            )
        return body[BINDING_BYTES + 1 :]
