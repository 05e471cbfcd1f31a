"""Nobody gives others what they do not have. Pure."""

from __future__ import annotations

from waypost.access.identity import ROLE_SCOPES, Identity, Role, Scope
from waypost.errors import PermissionDenied

_OPERATORS_ONLY = min(ROLE_SCOPES[Role.OPERATOR] - ROLE_SCOPES[Role.OWNER])


def require_grant(identity: Identity, role: Role, scopes: frozenset[Scope] | None = None) -> None:
    """Raises `PermissionDenied` unless the caller may give, change and take this; `scopes` None: all of the role's."""
    scopes = ROLE_SCOPES[role] if scopes is None else scopes
    if identity.may_grant(role, scopes):
        return
    missing = sorted(scopes - identity.scopes)
    if missing:
        raise PermissionDenied(
            missing[0], f"this would give {', '.join(missing)}, which you do not have here: nobody gives more"
        )
    raise PermissionDenied(_OPERATORS_ONLY, f"only operators give and take the role {role.value}")
