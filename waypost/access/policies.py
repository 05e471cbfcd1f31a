"""The one table of authorization: every method of every service, what it takes to call it, and what it may touch.

A method that is not here is refused to everybody. Health and reflection are gRPC's own and never routed by the edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from waypost.access.identity import Scope


class Objects(StrEnum):
    """Whose objects a method reads or changes, and so what holds callers to theirs."""

    NONE = "none"
    """Nobody's."""
    PUBLIC = "public"
    """What everybody may see of every link: what its redirect does."""
    WORKSPACE = "workspace"
    """The call's workspace's: row-level security shows the transaction no other."""
    OWN = "own"
    """The caller's own memberships, found by the caller's identity."""
    MESH = "mesh"
    """All workspaces': operators only."""


class LimitClass(StrEnum):
    """By which rules of the domain `waypost` calls are limited (`route_class`)."""

    NONE = "none"
    """By none: the mesh's own."""
    READ = "read"
    WRITE = "write"
    CREATE = "create"
    """By the number of links; asked by the use case, after what was answered before."""
    REPORT = "report"
    CHECK = "check"
    """By the number of questions about limits; only of calls through the edge: those of the mesh are such questions."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a method asks of its callers.

    scope      what it takes; None: nothing, the method is open to everybody
    objects    whose objects it touches
    limit      the class of its rate limit
    seconds    its most time, whatever deadline the caller sets
    anonymous  open to callers without credentials where the setting WAYPOST_ANONYMOUS_CREATE says so
    inside     open to processes of the mesh, which come past the edge
    """

    scope: Scope | None
    objects: Objects
    limit: LimitClass
    seconds: float = 10.0
    anonymous: bool = False
    inside: bool = False


def _service(name: str, methods: Mapping[str, Policy]) -> dict[str, Policy]:
    return {f"/waypost.api.v1.{name}/{method}": policy for method, policy in methods.items()}


_LINK_WRITE = Policy(Scope.LINKS_WRITE, Objects.WORKSPACE, LimitClass.WRITE)
_LINK_READ = Policy(Scope.LINKS_READ, Objects.WORKSPACE, LimitClass.READ)
_MANAGE = Policy(Scope.WORKSPACE_MANAGE, Objects.WORKSPACE, LimitClass.WRITE)
_KEYS_WRITE = Policy(Scope.KEYS_MANAGE, Objects.WORKSPACE, LimitClass.WRITE)
_KEYS_READ = Policy(Scope.KEYS_MANAGE, Objects.WORKSPACE, LimitClass.READ)
_WORKSPACE_READ = Policy(Scope.WORKSPACE_READ, Objects.WORKSPACE, LimitClass.READ)
_ABUSE_READ = Policy(Scope.ABUSE_MANAGE, Objects.MESH, LimitClass.READ)
_ABUSE_WRITE = Policy(Scope.ABUSE_MANAGE, Objects.MESH, LimitClass.WRITE)
_LIMIT_CHECK = Policy(Scope.LIMITS_CHECK, Objects.NONE, LimitClass.CHECK, seconds=5.0, inside=True)
_LIMITS_WRITE = Policy(Scope.LIMITS_MANAGE, Objects.MESH, LimitClass.CHECK)

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        **_service(
            "LinkService",
            {
                "CreateLink": Policy(Scope.LINKS_WRITE, Objects.WORKSPACE, LimitClass.CREATE, anonymous=True),
                "BatchCreateLinks": Policy(
                    Scope.LINKS_WRITE, Objects.WORKSPACE, LimitClass.CREATE, seconds=30.0, anonymous=True
                ),
                "GetLink": _LINK_READ,
                "ListLinks": _LINK_READ,
                "UpdateLink": _LINK_WRITE,
                "DeleteLink": _LINK_WRITE,
                "UndeleteLink": _LINK_WRITE,
                "ResolveLink": Policy(None, Objects.PUBLIC, LimitClass.READ),
            },
        ),
        **_service(
            "WorkspaceService",
            {
                "CreateWorkspace": Policy(Scope.WORKSPACES_CREATE, Objects.MESH, LimitClass.WRITE),
                "ListWorkspaces": Policy(None, Objects.OWN, LimitClass.READ),
                "GetWorkspace": _WORKSPACE_READ,
                "UpdateWorkspace": _MANAGE,
                "GetCaller": Policy(None, Objects.OWN, LimitClass.READ),
            },
        ),
        **_service(
            "MemberService",
            {
                "AddMember": _MANAGE,
                "ListMembers": _WORKSPACE_READ,
                "UpdateMember": _MANAGE,
                "RemoveMember": _MANAGE,
            },
        ),
        **_service(
            "KeyService",
            {
                "CreateKey": _KEYS_WRITE,
                "ListKeys": _KEYS_READ,
                "GetKey": _KEYS_READ,
                "RevokeKey": _KEYS_WRITE,
            },
        ),
        **_service("AuditService", {"ListAuditEvents": Policy(Scope.AUDIT_READ, Objects.WORKSPACE, LimitClass.READ)}),
        **_service(
            "AbuseService",
            {
                "ReportLink": Policy(None, Objects.PUBLIC, LimitClass.REPORT),
                "ListReports": _ABUSE_READ,
                "CloseReport": _ABUSE_WRITE,
                "BlockLink": _ABUSE_WRITE,
                "UnblockLink": _ABUSE_WRITE,
                "ListBlockedLinks": _ABUSE_READ,
            },
        ),
        **_service(
            "RateLimitService",
            {
                "Check": _LIMIT_CHECK,
                "BatchCheck": _LIMIT_CHECK,
                "Explain": _LIMIT_CHECK,
                "Reset": _LIMITS_WRITE,
                "ListRules": Policy(Scope.MESH_READ, Objects.MESH, LimitClass.CHECK),
            },
        ),
        **_service(
            "LimitOverrideService",
            {
                "SetOverride": _LIMITS_WRITE,
                "ListOverrides": Policy(Scope.LIMITS_MANAGE, Objects.MESH, LimitClass.CHECK),
                "DeleteOverride": _LIMITS_WRITE,
            },
        ),
        # Envoy's own question, by its own name; trusted like the listener it comes to, and never routed by the edge.
        "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit": _LIMIT_CHECK,
        **_service("JobService", {"ListJobs": Policy(Scope.MESH_READ, Objects.MESH, LimitClass.NONE)}),
    }
)
"""By the method's full name."""
