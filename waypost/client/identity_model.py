"""Workspaces, people, keys and the audit log, as the client gives them: plain values that know no protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a member or a key may do in its workspace; each has all scopes of the one before it."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"
    OPERATOR = "operator"
    """Of the whole mesh; for keys only."""
    UNKNOWN = "unknown"
    """A role that only a newer version knows."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the server takes the caller for: `key:<id>`, `user:<subject>` or `anonymous`.

    `workspace_id` is empty and `role` None where the call runs in no workspace; `scopes` are sorted.
    """

    principal: str
    workspace_id: str
    role: Role | None
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace: links, keys and members belong to one."""

    workspace_id: str
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
class Key:
    """An API key without its secret; times are in UTC, and None where it never was or will be.

    `expires_at` is the first instant at which it counts for nothing; `last_used_at` is up to a minute late.
    """

    key_id: str
    name: str
    role: Role
    scopes: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made, and the whole of it for `x-api-key`, which cannot be read again."""

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that was done: by whom, from where, what, to which object of which workspace."""

    event_id: str
    occurred_at: datetime
    principal: str
    address: str
    action: str
    object: str
    details: Mapping[str, str]
    correlation_id: str
    workspace_id: str
