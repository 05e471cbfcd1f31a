"""Page tokens of lists of overrides, bound to the domain that was asked for. Pure.

Inside of the seal: version (1 byte), binding (8 bytes of a digest of the domain), the last row's time (8 bytes) and its
id (16 bytes).
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from waypost.errors import InvalidFields
from waypost.overrides import OverridePlace
from waypost.page_tokens import pack_time, refuse, seal, unpack_time, unseal

_VERSION = 9
_BINDING_BYTES = 8
_TIME_BYTES = 8
_BYTES = 1 + _BINDING_BYTES + _TIME_BYTES + 16


def encode(place: OverridePlace, domain: str) -> str:
    """The token for the page that begins behind `place`."""
    return seal(bytes([_VERSION]) + _binding(domain) + pack_time(place.created_at) + place.override_id.bytes)


def decode(token: str, domain: str) -> OverridePlace:
    """The place of a token. Raises `InvalidFields` for the field `page_token`."""
    body = unseal(token)
    if len(body) != _BYTES or body[0] != _VERSION:
        refuse()
    binding, place = body[1 : 1 + _BINDING_BYTES], body[1 + _BINDING_BYTES :]
    if binding != _binding(domain):
        raise InvalidFields.one(
            "page_token",
            "came with another domain: send that of the page before, or leave the token out to begin anew",
        )
    return OverridePlace(unpack_time(place[:_TIME_BYTES]), UUID(bytes=place[_TIME_BYTES:]))


def _binding(domain: str) -> bytes:
    return hashlib.blake2b(domain.encode(), digest_size=_BINDING_BYTES, person=b"waypost limits").digest()
