"""Workspaces, members and keys as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from waypost.access.identity import Role, Scope

MAX_KEYS = 1000
"""Keys of a workspace that are neither revoked nor expired."""

MAX_MEMBERS = 10_000
"""Members of a workspace."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Who links, keys and members belong to."""

    workspace_id: UUID
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a workspace, by the subject of their tokens."""

    subject: str
    role: Role
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to store: never its secret, but its digest. `scopes` are what it may do, never more than the role's."""

    key_id: str
    name: str
    role: Role
    scopes: frozenset[Scope]
    digest: bytes = field(repr=False)
    created_by: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key as it is shown."""

    key_id: str
    name: str
    role: Role
    scopes: frozenset[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """A place in a list of keys, which runs from the newest to the oldest."""

    created_at: datetime
    key_id: str
