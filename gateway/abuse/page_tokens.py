"""Page tokens of reports and blocked links, which are ordered by a time and then an id. Pure.

Inside of the seal: version (1 byte), binding (8 bytes of a digest of what is asked for), the last row's time (8 bytes,
signed microseconds since 1970, big-endian), its id (ASCII).
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from waypost.abuse import Place
from waypost.errors import InvalidFields
from waypost.page_tokens import refuse, seal, unseal

_VERSION = 8
_BINDING_BYTES = 8
_HEAD = struct.Struct(f">B{_BINDING_BYTES}sq")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode(place: Place, *bound: object) -> str:
    """The token for the page that begins behind `place` of the list that `bound` names."""
    microseconds = (place.at - _EPOCH) // timedelta(microseconds=1)
    return seal(_HEAD.pack(_VERSION, _binding(bound), microseconds) + place.id.encode("ascii"))


def decode(token: str, is_id: Callable[[str], bool], *bound: object) -> Place:
    """The place of a token of the list that `bound` names, whose ids are such. Raises `InvalidFields`."""
    body = unseal(token)
    if len(body) < _HEAD.size or body[0] != _VERSION:
        refuse()
    _, binding, microseconds = _HEAD.unpack_from(body)
    if binding != _binding(bound):
        raise InvalidFields.one(
            "page_token",
            "came with other arguments: send those of the page before, or leave the token out to begin anew",
        )
    try:
        place = Place(_EPOCH + timedelta(microseconds=microseconds), body[_HEAD.size :].decode("ascii"))
    except (OverflowError, UnicodeDecodeError):
        refuse()
    if not is_id(place.id):
        refuse()
    return place


def is_uuid(text: str) -> bool:
    """Whether it is a UUID as it is printed: 36 characters, small letters."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def is_row_number(text: str) -> bool:
    """Whether it is the number of a row: a positive 64-bit integer."""
    return _NUMBER.fullmatch(text) is not None and int(text) < 2**63


def _binding(bound: tuple[object, ...]) -> bytes:
    text = "\n".join(map(str, bound))
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=_BINDING_BYTES, person=b"waypost abuse").digest()
