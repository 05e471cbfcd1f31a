"""What callers ask of accounts, as plain values: as it came, not yet checked.

`malformed` lists fields that no value could be made of; they are reported beside whatever else is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from waypost.access.identity import Role
from waypost.errors import FieldViolation


@dataclass(frozen=True, slots=True)
class Page:
    """Which page of a list: 0 and "" are absent."""

    size: int = 0
    token: str = ""


@dataclass(frozen=True, slots=True)
class AddMember:
    """Somebody to add; `role` None: none was given."""

    subject: str
    role: Role | None
    name: str = ""
    malformed: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateMember:
    """A member to change; None: as it is."""

    subject: str
    role: Role | None = None
    name: str | None = None
    malformed: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateKey:
    """A key to make; without `scopes` it has all of its role's. `expires_at` and `ttl_seconds` exclude each other."""

    name: str
    role: Role = Role.EDITOR
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    ttl_seconds: int | None = None
    malformed: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True)
class ListEvents:
    """Which events of the audit log; "" and None ask for nothing."""

    page: Page = Page()
    principal: str = ""
    action: str = ""
    object: str = ""
    from_: datetime | None = None
    until: datetime | None = None
    all_workspaces: bool = False
    malformed: tuple[FieldViolation, ...] = ()
