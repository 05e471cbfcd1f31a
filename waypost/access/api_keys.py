"""API keys: how they look, how they are made, and what the server keeps of them."""

from __future__ import annotations

import hmac
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from waypost.access.identity import ROLE_SCOPES, Role, Scope

PREFIX = "wp_"
"""What every key begins with, so that scanners of secrets know one when they see it."""

_ID_CHARACTERS = string.ascii_letters + string.digits
_ID_LENGTH = 16
_SECRET_BYTES = 32
_KEY = re.compile(r"wp_([A-Za-z0-9]{16})\.([A-Za-z0-9_-]{43})")

MIN_PEPPER_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in the clear, for the one moment that it is: `str()` does not show the secret."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The whole of it, as it goes in `x-api-key`."""
        return f"{PREFIX}{self.key_id}.{self.secret}"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is stored of a key and needed to tell whether it counts. `scopes` are never more than the role's."""

    key_id: str
    workspace_id: UUID
    role: Role
    scopes: frozenset[Scope]
    digest: bytes = field(repr=False)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_key() -> ApiKey:
    """A key of 256 random bits, with an id of 95 more."""
    key_id = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
    return ApiKey(key_id, secrets.token_urlsafe(_SECRET_BYTES))


def parse_key(text: str) -> ApiKey | None:
    """The key that `text` is; None if it is none, whatever it is."""
    found = _KEY.fullmatch(text)
    return ApiKey(found.group(1), found.group(2)) if found else None


def digest_of(key: ApiKey, pepper: bytes) -> bytes:
    """What the server keeps: HMAC-SHA-256 under the pepper, of id and secret. 256 random bits need no slow hash."""
    return hmac.digest(pepper, key.text.encode(), "sha256")


def matches(key: ApiKey, record: KeyRecord, peppers: Sequence[bytes]) -> bool:
    """Whether the record is of this very key; takes as long for a wrong secret as for a right one."""
    same = False
    for pepper in peppers:
        same |= hmac.compare_digest(digest_of(key, pepper), record.digest)
    return same


def scopes_of(role: Role, named: Sequence[str]) -> frozenset[Scope]:
    """The scopes of a key: those that are named, of the role's; without names all of the role's."""
    if not named:
        return ROLE_SCOPES[role]
    # Names of a newer release are passed over.
    return frozenset(scope for scope in ROLE_SCOPES[role] if scope.value in named)
