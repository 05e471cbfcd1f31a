"""Page tokens of lists that are asked for by domain, bound to the one that was asked for. Pure.

Inside of the seal: the kind of list (1 byte), a digest of the domain (8 bytes), and the place that the next page begins
behind, as the list itself writes it.
"""

from __future__ import annotations

import hashlib

from waypost.errors import InvalidFields
from waypost.page_tokens import refuse, seal, unseal

_DIGEST_BYTES = 8


def seal_place(kind: int, domain: str, place: bytes) -> str:
    """The token for a place in the list of a domain."""
    return seal(bytes([kind]) + _digest(domain) + place)


def unseal_place(token: str, kind: int, domain: str, size: int) -> bytes:
    """The `size` bytes of a token's place. Raises `InvalidFields` for the field `page_token`."""
    body = unseal(token)
    if len(body) != 1 + _DIGEST_BYTES + size or body[0] != kind:
        refuse()
    if body[1 : 1 + _DIGEST_BYTES] != _digest(domain):
        raise InvalidFields.one(
            "page_token",
            "came with another domain: send that of the page before, or leave the token out to begin anew",
        )
    return body[1 + _DIGEST_BYTES :]


def _digest(domain: str) -> bytes:
    return hashlib.blake2b(domain.encode(), digest_size=_DIGEST_BYTES, person=b"waypost limits").digest()
