"""The audit log as values: what was done, and which of it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from waypost.access.identity import Identity


class Action(StrEnum):
    """What can be done; the part before the dot is the kind of object."""

    LINK_CREATE = "link.create"
    LINK_UPDATE = "link.update"
    LINK_DELETE = "link.delete"
    LINK_UNDELETE = "link.undelete"
    LINK_BLOCK = "link.block"
    LINK_UNBLOCK = "link.unblock"
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
    MEMBER_ADD = "member.add"
    MEMBER_UPDATE = "member.update"
    MEMBER_REMOVE = "member.remove"
    WORKSPACE_CREATE = "workspace.create"
    WORKSPACE_UPDATE = "workspace.update"
    REPORT_CLOSE = "report.close"
    OVERRIDE_SET = "override.set"
    OVERRIDE_DELETE = "override.delete"
    LIMIT_RESET = "limit.reset"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something done, to be written in the transaction that does it. `object` and `details` hold no secrets."""

    workspace_id: UUID
    principal: str
    address: str
    action: Action
    object: str
    correlation_id: str
    details: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A row of the log. `action` is text: a newer release may have written it."""

    event_id: int
    occurred_at: datetime
    workspace_id: UUID
    principal: str
    address: str
    action: str
    object: str
    details: Mapping[str, str]
    correlation_id: str


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """A place in the log, which runs from the latest to the earliest."""

    occurred_at: datetime
    event_id: int


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which events: those that meet every condition; "" and None ask for nothing. `action` may be a kind: `key.`.

    `workspace_id` None: of all workspaces. `from_` is inclusive, `until` exclusive; `after`: those behind this place.
    """

    workspace_id: UUID | None
    size: int
    principal: str = ""
    action: str = ""
    object: str = ""
    from_: datetime | None = None
    until: datetime | None = None
    after: AuditPlace | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page, the latest first; `next`: where the next one begins, None after the last."""

    events: tuple[AuditEvent, ...]
    next: AuditPlace | None


def entry_of(
    identity: Identity,
    correlation_id: str,
    action: Action,
    object: str,
    details: Mapping[str, str] | None = None,
    workspace_id: UUID | None = None,
) -> AuditEntry:
    """What `identity` does; `workspace_id`: of another workspace than the call's."""
    workspace = workspace_id or identity.workspace_id
    if workspace is None:
        raise ValueError("an audit entry belongs to a workspace")
    return AuditEntry(
        workspace, identity.principal, identity.address, action, object, correlation_id, dict(details or {})
    )
