"""Callers for tests: who has which role in which workspace, and a gate that lets every call be one of them."""

from __future__ import annotations

from uuid import UUID

from waypost.access.identity import ANONYMOUS, ROLE_SCOPES, Identity, Role, Scope
from waypost.model import DEFAULT_WORKSPACE
from waypost.rpc.chain import Handler
from waypost.rpc.context import CallContext

ADDRESS = "192.0.2.7"


def as_role(
    role: Role,
    workspace_id: UUID = DEFAULT_WORKSPACE,
    *,
    principal: str = "user:ada",
    scopes: frozenset[Scope] | None = None,
    address: str = ADDRESS,
) -> Identity:
    """Somebody with this role, with all of its scopes or with these."""
    return Identity(principal, workspace_id, role, ROLE_SCOPES[role] if scopes is None else scopes, address)


def as_viewer(workspace_id: UUID = DEFAULT_WORKSPACE, *, principal: str = "user:ada") -> Identity:
    """A viewer of the workspace."""
    return as_role(Role.VIEWER, workspace_id, principal=principal)


def as_editor(workspace_id: UUID = DEFAULT_WORKSPACE, *, principal: str = "user:ada") -> Identity:
    """An editor of the workspace."""
    return as_role(Role.EDITOR, workspace_id, principal=principal)


def as_owner(workspace_id: UUID = DEFAULT_WORKSPACE, *, principal: str = "user:ada") -> Identity:
    """An owner of the workspace."""
    return as_role(Role.OWNER, workspace_id, principal=principal)


def as_operator(workspace_id: UUID = DEFAULT_WORKSPACE, *, principal: str = "user:ada") -> Identity:
    """An operator of the mesh whose call runs in the workspace."""
    return as_role(Role.OPERATOR, workspace_id, principal=principal)


def as_anonymous(address: str = ADDRESS) -> Identity:
    """Somebody without credentials, where links may be made without."""
    return Identity(ANONYMOUS, DEFAULT_WORKSPACE, scopes=frozenset({Scope.LINKS_WRITE}), address=address)


class Known:
    """A gate that believes every call to be `identity`'s, who may do everything that the methods let them."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        context.identity = self.identity
        return await call_next(context, request)
