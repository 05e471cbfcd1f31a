"""The rules for what callers may say of workspaces, members and keys. Pure; all raise `InvalidFields`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from gateway.labels import unfit
from waypost.access.identity import ROLE_SCOPES, Role, Scope
from waypost.errors import FieldViolation, InvalidFields

MAX_NAME_CHARS = 128
MAX_SUBJECT_CHARS = 255
MAX_SCOPES = 32
"""Repeated ones count once, but not without end."""

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200

_SUBJECT = re.compile(rf"[\x21-\x7e]{{1,{MAX_SUBJECT_CHARS}}}")
_MAX_BAD_SCOPES = 3
_MEMBER_ROLES = "ROLE_VIEWER, ROLE_EDITOR or ROLE_OWNER"


def name_of(text: str, *, required: bool = True) -> str:
    """The name to store: the text without the spaces around it."""
    name = text.strip()
    problems = unfit(text)
    if len(name) > MAX_NAME_CHARS:
        problems.append(f"has {len(name):,} characters: shorten it to {MAX_NAME_CHARS}")
    if required and not name:
        problems.append(f"must not be empty: give 1 to {MAX_NAME_CHARS} characters")
    if problems:
        _refuse("name", "; ".join(problems))
    return name


def subject_of(text: str, field: str = "subject") -> str:
    """The subject as it came, if it is one."""
    if not _SUBJECT.fullmatch(text):
        _refuse(field, f"must be 1 to {MAX_SUBJECT_CHARS} visible ASCII characters without spaces, as in tokens")
    return text


def is_subject(text: str) -> bool:
    """Whether it could be one's subject."""
    return _SUBJECT.fullmatch(text) is not None


def member_role(role: Role | None) -> Role:
    """The role, if people can have it; None: none was given."""
    if role is None:
        _refuse("role", f"must be {_MEMBER_ROLES}")
    if role is Role.OPERATOR:
        _refuse("role", f"must be {_MEMBER_ROLES}: people are operators by the setting WAYPOST_OPERATORS, not here")
    return role


def key_scopes(role: Role, names: Sequence[str]) -> frozenset[Scope]:
    """The scopes of a key of this role: those that are named, without names all of the role's."""
    if not names:
        return ROLE_SCOPES[role]
    if len(names) > MAX_SCOPES:
        _refuse("scopes", f"has {len(names):,} scopes: give {MAX_SCOPES} at most, or none for all of the role's")
    known = {scope.value: scope for scope in ROLE_SCOPES[role]}
    wrong = [
        FieldViolation(
            f"scopes[{place}]", f"{name[:64]!r} is no scope of the role {role.value}, which has {_listed(known)}"
        )
        for place, name in enumerate(names)
        if name not in known
    ]
    if wrong:
        raise InvalidFields(wrong[:_MAX_BAD_SCOPES])
    return frozenset(known[name] for name in names)


def page_size(size: int, default: int = DEFAULT_PAGE_SIZE, most: int = MAX_PAGE_SIZE) -> int:
    """How many a page has at most; one that is too large is lowered."""
    if size < 0:
        _refuse("page_size", f"must not be negative: give 1 to {most:,}, or 0 for the default")
    return min(size, most) or default


def _listed(names: Sequence[str] | dict[str, Scope]) -> str:
    return ", ".join(sorted(names))


def _refuse(field: str, sentence: str) -> NoReturn:
    raise InvalidFields.one(field, sentence)
