"""The services of accounts over storage in memory, and callers of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from gateway.accounts.handlers.audit import AuditHandlers
from gateway.accounts.handlers.keys import KeyHandlers
from gateway.accounts.handlers.members import MemberHandlers
from gateway.accounts.handlers.workspaces import WorkspaceHandlers
from gateway.accounts.services import AuditService, KeyService, MemberService, WorkspaceService
from tests.support.identities import as_role
from tests.support.memory_accounts import NOW, Accounts, MemoryAccounts
from tests.support.memory_storage import MemoryStorage
from waypost.access.identity import Identity, Role, Scope
from waypost.accounts import Member, Workspace
from waypost.audit import AuditEvent
from waypost.errors import InvalidFields
from waypost.model import DEFAULT_WORKSPACE
from waypost.rpc.context import CallContext

HERE = DEFAULT_WORKSPACE
ELSEWHERE = UUID("00000000-0000-0000-0000-00000000000e")
PEPPERS = (b"p" * 32, b"q" * 32)


def caller(role: Role = Role.OWNER, *scopes: Scope, principal: str = "", workspace_id: UUID = HERE) -> Identity:
    """Somebody of this role, with all of its scopes or these."""
    return as_role(
        role,
        workspace_id,
        principal=principal or f"user:{role.value}",
        scopes=frozenset(scopes) or None,
        address="192.0.2.0",
    )


OWNER = caller()
OPERATOR = caller(Role.OPERATOR, principal="key:operatoroperator")
STRANGER = Identity("anonymous", address="192.0.2.9")


class Clock:
    """A time of day that stands still."""

    def now(self) -> datetime:
        return NOW


class World:
    """The services and what they store; there are two workspaces."""

    def __init__(self, peppers: tuple[bytes, ...] = PEPPERS) -> None:
        self.storage = MemoryStorage()
        self.rows.workspaces[ELSEWHERE] = Workspace(ELSEWHERE, "elsewhere", NOW)
        accounts = MemoryAccounts(self.rows)
        self.workspaces = WorkspaceService(WorkspaceHandlers(self.storage, accounts, accounts, accounts))
        self.members = MemberService(MemberHandlers(self.storage, accounts))
        self.keys = KeyService(KeyHandlers(self.storage, accounts, Clock(), peppers))
        self.audit = AuditService(AuditHandlers(accounts))

    @property
    def rows(self) -> Accounts:
        """What is committed."""
        return self.storage.accounts

    @property
    def log(self) -> list[tuple[str, str, dict[str, str]]]:
        """Action, object and details of what the audit log has."""
        return [(event.action, event.object, dict(event.details)) for event in self.events]

    @property
    def events(self) -> list[AuditEvent]:
        """The audit log."""
        return self.rows.audit

    def have_member(self, subject: str, role: Role, name: str = "", workspace_id: UUID = HERE) -> None:
        """Adds a member past the service."""
        self.rows.members[workspace_id, subject] = Member(subject, role, name, NOW)

    def roles(self, workspace_id: UUID = HERE) -> dict[str, Role]:
        """Who is what."""
        return {
            subject: member.role
            for (workspace, subject), member in self.rows.members.items()
            if workspace == workspace_id
        }


def context(identity: Identity = OWNER, *metadata: tuple[str, str]) -> Any:
    """A call of somebody, as the chain hands it to a servicer."""
    made = CallContext("/waypost.api.v1.Service/Method", metadata, "unix:", None)
    made.identity = identity
    made.correlation_id = "call-1"
    return made


async def violations(call: Any) -> dict[str, str]:
    """What a call is refused for, by field."""
    with pytest.raises(InvalidFields) as caught:
        await call
    return {violation.field: violation.description for violation in caught.value.violations}
