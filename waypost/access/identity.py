"""Who calls: roles, the scopes they stand for, and the caller of a call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID


class Role(StrEnum):
    """What somebody is in a workspace; see `waypost.api.v1.Role`."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"
    OPERATOR = "operator"


class Scope(StrEnum):
    """A kind of things that may be done; keys may have fewer than their role."""

    LINKS_READ = "links:read"
    LINKS_WRITE = "links:write"
    LIMITS_CHECK = "limits:check"
    WORKSPACE_READ = "workspace:read"
    WORKSPACE_MANAGE = "workspace:manage"
    KEYS_MANAGE = "keys:manage"
    AUDIT_READ = "audit:read"
    WORKSPACES_CREATE = "workspaces:create"
    ABUSE_MANAGE = "abuse:manage"
    MESH_READ = "mesh:read"
    LIMITS_MANAGE = "limits:manage"


_VIEWER = frozenset({Scope.LINKS_READ, Scope.WORKSPACE_READ})
_EDITOR = _VIEWER | {Scope.LINKS_WRITE, Scope.LIMITS_CHECK}
_OWNER = _EDITOR | {Scope.WORKSPACE_MANAGE, Scope.KEYS_MANAGE, Scope.AUDIT_READ}

ROLE_SCOPES = MappingProxyType(
    {Role.VIEWER: _VIEWER, Role.EDITOR: _EDITOR, Role.OWNER: _OWNER, Role.OPERATOR: frozenset(Scope)}
)
"""What each role may do."""

ANONYMOUS = "anonymous"
"""The principal of calls without credentials."""

MESH = "mesh"
"""The principal of the mesh's own processes, where they need no credentials."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of one call.

    principal     `key:<id>`, `user:<subject>` or `anonymous`
    workspace_id  the workspace that the call runs in; None: none
    role          theirs in it, None: none
    scopes        what they may do in it
    address       the client's, masked; `local` for a peer without one
    workspaces    without a workspace: how many there were to choose from
    """

    principal: str
    workspace_id: UUID | None = None
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    address: str = ""
    workspaces: int = 0

    @property
    def anonymous(self) -> bool:
        """Whether the call came without credentials."""
        return self.principal == ANONYMOUS

    @property
    def operator(self) -> bool:
        """Whether the caller is an operator of the mesh, with all of an operator's scopes or some."""
        return self.role is Role.OPERATOR

    def may_grant(self, role: Role, scopes: frozenset[Scope]) -> bool:
        """Whether the caller may give others these: nobody gives what they do not have."""
        return scopes <= self.scopes and (role is not Role.OPERATOR or self.operator)


@dataclass(frozen=True, slots=True)
class Membership:
    """One workspace that somebody is a member of."""

    workspace_id: UUID
    role: Role
