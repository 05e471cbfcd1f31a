"""Protobuf to values and back, for the services of accounts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.accounts.requests import AddMember, CreateKey, ListEvents, Page, UpdateMember
from waypost.access.identity import Identity, Role
from waypost.accounts import Key, Member, Workspace
from waypost.api.v1 import audit_service_pb2 as audit_pb
from waypost.api.v1 import key_service_pb2 as key_pb
from waypost.api.v1 import member_service_pb2 as member_pb
from waypost.api.v1 import role_pb2, workspace_service_pb2
from waypost.audit import AuditEvent
from waypost.convert import timestamp
from waypost.errors import FieldViolation

ROLES = MappingProxyType(
    {
        Role.VIEWER: role_pb2.ROLE_VIEWER,
        Role.EDITOR: role_pb2.ROLE_EDITOR,
        Role.OWNER: role_pb2.ROLE_OWNER,
        Role.OPERATOR: role_pb2.ROLE_OPERATOR,
    }
)
_BY_NUMBER: Mapping[int, Role] = {number: role for role, number in ROLES.items()}
_OF_MEMBERS = (Role.VIEWER, Role.EDITOR, Role.OWNER)


class Paged(Protocol):
    """A request for a page of a list."""

    @property
    def page_size(self) -> int: ...

    @property
    def page_token(self) -> str: ...


def page_from_proto(request: Paged) -> Page:
    """Which page."""
    return Page(request.page_size, request.page_token)


def add_member_from_proto(request: member_pb.AddMemberRequest) -> AddMember:
    """The member to add."""
    malformed: list[FieldViolation] = []
    role = _role(request.role, _OF_MEMBERS, malformed) if request.role else None
    return AddMember(request.subject, role, request.name, tuple(malformed))


def update_member_from_proto(request: member_pb.UpdateMemberRequest) -> UpdateMember:
    """What to change of a member: what is there."""
    malformed: list[FieldViolation] = []
    role = _role(request.role, _OF_MEMBERS, malformed) if request.HasField("role") else None
    name = request.name if request.HasField("name") else None
    return UpdateMember(request.subject, role, name, tuple(malformed))


def create_key_from_proto(request: key_pb.CreateKeyRequest, malformed: list[FieldViolation]) -> CreateKey:
    """The key to make; `malformed`: what is wrong with the call already."""
    return CreateKey(
        name=request.name,
        role=(_role(request.role, ROLES, malformed) if request.role else None) or Role.EDITOR,
        scopes=tuple(request.scopes),
        expires_at=_time("expires_at", request.expires_at, malformed)
        if request.WhichOneof("expiry") == "expires_at"
        else None,
        ttl_seconds=request.ttl_seconds if request.WhichOneof("expiry") == "ttl_seconds" else None,
        malformed=tuple(malformed),
    )


def list_events_from_proto(request: audit_pb.ListAuditEventsRequest) -> ListEvents:
    """Which events."""
    malformed: list[FieldViolation] = []
    # A Python keyword in the contract: JSON has it as it is.
    from_field: Timestamp = getattr(request, "from")
    from_ = _time("from", from_field, malformed) if request.HasField("from") else None
    until = _time("until", request.until, malformed) if request.HasField("until") else None
    return ListEvents(
        page=page_from_proto(request),
        principal=request.principal,
        action=request.action,
        object=request.object,
        from_=from_,
        until=until,
        all_workspaces=request.all_workspaces,
        malformed=tuple(malformed),
    )


def workspace_to_proto(workspace: Workspace) -> workspace_service_pb2.Workspace:
    """The workspace as callers see it."""
    return workspace_service_pb2.Workspace(
        workspace_id=str(workspace.workspace_id), name=workspace.name, created_at=timestamp(workspace.created_at)
    )


def caller_to_proto(identity: Identity) -> workspace_service_pb2.Caller:
    """Who calls; of anonymous callers nothing but that."""
    if identity.anonymous:
        return workspace_service_pb2.Caller(principal=identity.principal)
    return workspace_service_pb2.Caller(
        principal=identity.principal,
        workspace_id="" if identity.workspace_id is None else str(identity.workspace_id),
        role=role_pb2.ROLE_UNSPECIFIED if identity.role is None else ROLES[identity.role],
        scopes=sorted(identity.scopes),
    )


def member_to_proto(member: Member) -> member_pb.Member:
    """The member as callers see them."""
    return member_pb.Member(
        subject=member.subject, role=ROLES[member.role], name=member.name, created_at=timestamp(member.created_at)
    )


def key_to_proto(key: Key) -> key_pb.Key:
    """The key as callers see it, without its secret."""
    return key_pb.Key(
        key_id=key.key_id,
        name=key.name,
        role=ROLES[key.role],
        scopes=sorted(key.scopes),
        created_by=key.created_by,
        created_at=timestamp(key.created_at),
        expires_at=_perhaps(key.expires_at),
        last_used_at=_perhaps(key.last_used_at),
        revoked_at=_perhaps(key.revoked_at),
    )


def event_to_proto(event: AuditEvent) -> audit_pb.AuditEvent:
    """The event as callers see it."""
    return audit_pb.AuditEvent(
        event_id=str(event.event_id),
        occurred_at=timestamp(event.occurred_at),
        principal=event.principal,
        address=event.address,
        action=event.action,
        object=event.object,
        details=event.details,
        correlation_id=event.correlation_id,
        workspace_id=str(event.workspace_id),
    )


def _role(number: int, known: Iterable[Role], malformed: list[FieldViolation]) -> Role | None:
    role = _BY_NUMBER.get(number)
    if role is None:
        names = ", ".join(role_pb2.Role.Name(ROLES[one]) for one in known)
        malformed.append(FieldViolation("role", f"has the number {number}, which is no role: give one of {names}"))
    return role


def _time(field: str, value: Timestamp, malformed: list[FieldViolation]) -> datetime | None:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        malformed.append(FieldViolation(field, "is no valid time between the years 1 and 9999"))
        return None


def _perhaps(at: datetime | None) -> Timestamp | None:
    return None if at is None else timestamp(at)
