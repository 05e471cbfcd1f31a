"""Workspaces, members and keys as commands print them: as JSON like the API's, and as lines for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from waypost.cli.show import card, timestamp
from waypost.client import Caller, Key, Member, Role, Workspace


def caller_object(caller: Caller) -> dict[str, Any]:
    """The caller as the API has them in JSON."""
    return {
        "principal": caller.principal,
        "workspace_id": caller.workspace_id,
        "role": _role(caller.role),
        "scopes": list(caller.scopes),
    }


def caller_card(caller: Caller) -> str:
    """The caller, one field a line."""
    return card(
        {
            "principal": caller.principal,
            "workspace_id": caller.workspace_id or "(none)",
            "role": caller.role.value if caller.role else "(none)",
            "scopes": ", ".join(caller.scopes) or "(none)",
        }
    )


def workspace_object(workspace: Workspace) -> dict[str, Any]:
    """The workspace as the API has it in JSON."""
    return {
        "workspace_id": workspace.workspace_id,
        "name": workspace.name,
        "created_at": timestamp(workspace.created_at),
    }


def member_object(member: Member) -> dict[str, Any]:
    """The member as the API has them in JSON."""
    return {
        "subject": member.subject,
        "role": _role(member.role),
        "name": member.name,
        "created_at": timestamp(member.created_at),
    }


def key_object(key: Key) -> dict[str, Any]:
    """The key as the API has it in JSON."""
    times = {"expires_at": key.expires_at, "last_used_at": key.last_used_at, "revoked_at": key.revoked_at}
    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": _role(key.role),
        "scopes": list(key.scopes),
        "created_by": key.created_by,
        "created_at": timestamp(key.created_at),
        **{name: timestamp(at) for name, at in times.items() if at is not None},
    }


def key_card(key: Key) -> str:
    """The key, one field a line, without those that say nothing."""
    return card({**key_object(key), "role": key.role.value, "scopes": ", ".join(key.scopes)})


def key_state(key: Key, now: datetime) -> str:
    """What has become of the key, in a word."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def _role(role: Role | None) -> str:
    return "ROLE_UNSPECIFIED" if role in (None, Role.UNKNOWN) else f"ROLE_{role.upper()}"
