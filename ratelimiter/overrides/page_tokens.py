"""Page tokens of lists of overrides: the place is the last row's time (8 bytes) and its id (16 bytes). Pure."""

from __future__ import annotations

from uuid import UUID

from ratelimiter.domain_tokens import seal_place, unseal_place
from waypost.overrides import OverridePlace
from waypost.page_tokens import pack_time, unpack_time

_KIND = 9
_TIME_BYTES = 8
_ID_BYTES = 16


def encode(place: OverridePlace, domain: str) -> str:
    """The token for the page that begins behind `place`."""
    return seal_place(_KIND, domain, pack_time(place.created_at) + place.override_id.bytes)


def decode(token: str, domain: str) -> OverridePlace:
    """The place of a token. Raises `InvalidFields` for the field `page_token`."""
    place = unseal_place(token, _KIND, domain, _TIME_BYTES + _ID_BYTES)
    return OverridePlace(unpack_time(place[:_TIME_BYTES]), UUID(bytes=place[_TIME_BYTES:]))
