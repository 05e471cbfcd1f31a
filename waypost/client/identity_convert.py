"""The client's values of identity and audit as the contract has them, and back: pure."""

from __future__ import annotations

from collections.abc import Mapping

from waypost.api.v1 import audit_service_pb2, key_service_pb2, member_service_pb2, role_pb2, workspace_service_pb2
from waypost.client.convert import time_from_proto
from waypost.client.identity_model import AuditEvent, Caller, Key, Member, NewKey, Role, Workspace
from waypost.errors import InvalidFields

_ROLES: Mapping[int, Role] = {
    role_pb2.ROLE_VIEWER: Role.VIEWER,
    role_pb2.ROLE_EDITOR: Role.EDITOR,
    role_pb2.ROLE_OWNER: Role.OWNER,
    role_pb2.ROLE_OPERATOR: Role.OPERATOR,
}
_NUMBERS = {role: number for number, role in _ROLES.items()}


def role_to_proto(role: Role | str) -> int:
    """The role's number. Raises `InvalidFields` for what is none."""
    number = _NUMBERS.get(Role(role)) if role in list(Role) else None
    if number is None:
        raise InvalidFields.one("role", f"must be one of {', '.join(_NUMBERS)}, not {str(role)!r}")
    return number


def caller_from_proto(caller: workspace_service_pb2.Caller) -> Caller:
    """Who calls."""
    role = _role(caller.role) if caller.role else None
    return Caller(caller.principal, caller.workspace_id, role, tuple(caller.scopes))


def workspace_from_proto(workspace: workspace_service_pb2.Workspace) -> Workspace:
    """A workspace."""
    return Workspace(workspace.workspace_id, workspace.name, time_from_proto(workspace.created_at))


def member_from_proto(member: member_service_pb2.Member) -> Member:
    """Somebody in a workspace."""
    return Member(member.subject, _role(member.role), member.name, time_from_proto(member.created_at))


def key_from_proto(key: key_service_pb2.Key) -> Key:
    """A key."""
    return Key(
        key_id=key.key_id,
        name=key.name,
        role=_role(key.role),
        scopes=tuple(key.scopes),
        created_by=key.created_by,
        created_at=time_from_proto(key.created_at),
        expires_at=time_from_proto(key.expires_at) if key.HasField("expires_at") else None,
        last_used_at=time_from_proto(key.last_used_at) if key.HasField("last_used_at") else None,
        revoked_at=time_from_proto(key.revoked_at) if key.HasField("revoked_at") else None,
    )


def new_key_from_proto(answer: key_service_pb2.CreateKeyResponse) -> NewKey:
    """A key that was just made."""
    return NewKey(key_from_proto(answer.key), answer.secret)


def event_from_proto(event: audit_service_pb2.AuditEvent) -> AuditEvent:
    """Something that was done."""
    return AuditEvent(
        event_id=event.event_id,
        occurred_at=time_from_proto(event.occurred_at),
        principal=event.principal,
        address=event.address,
        action=event.action,
        object=event.object,
        details=dict(event.details),
        correlation_id=event.correlation_id,
        workspace_id=event.workspace_id,
    )


def _role(number: int) -> Role:
    return _ROLES.get(number, Role.UNKNOWN)
