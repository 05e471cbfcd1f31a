"""What all page tokens have in common: opaque to callers, told from other texts by a checksum. Pure.

A token is base64url without padding of its bytes, the first of which is a version that says what kind of token it is,
and a checksum (6 bytes). It is no secret and carries no right.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from waypost.errors import InvalidFields

MAX_TOKEN_CHARS = 512

_CHECK_BYTES = 6
_MICROSECONDS = struct.Struct(">q")
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seal(body: bytes) -> str:
    """The token of these bytes, of which the first is a version that no other kind of token has."""
    return base64.urlsafe_b64encode(body + _checksum(body)).decode("ascii").rstrip("=")


def unseal(token: str) -> bytes:
    """The bytes of a token as they were sealed, of whatever version. Raises `InvalidFields`."""
    if len(token) > MAX_TOKEN_CHARS or not _ALPHABET.fullmatch(token):
        refuse()
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        refuse()
    body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    # The bits of the last character that mean nothing are part of what was issued, too.
    if base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=") != token or check != _checksum(body):
        refuse()
    return body


def refuse() -> NoReturn:
    """Raises `InvalidFields` for what is no token, or not of this kind."""
    raise InvalidFields.one(
        "page_token",
        "is no token of this server: send `next_page_token` of the page before as it came, or leave the token out",
    )


def pack_time(at: datetime) -> bytes:
    """The instant in 8 bytes: signed microseconds since 1970, big-endian."""
    return _MICROSECONDS.pack((at - _EPOCH) // timedelta(microseconds=1))


def unpack_time(raw: bytes) -> datetime:
    """The instant of 8 bytes. Raises `InvalidFields`."""
    try:
        (microseconds,) = _MICROSECONDS.unpack(raw)
        return _EPOCH + timedelta(microseconds=microseconds)
    except (struct.error, OverflowError):
        refuse()


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=b"waypost page").digest()
