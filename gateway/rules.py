"""The rules for what owners may say of their links: from what was asked for to what may be stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from gateway.codes import check_alias
from gateway.expiry import expiry_of
from gateway.intake import Intake
from gateway.labels import tags_of, title_of
from gateway.requests import CHANGEABLE, Content, CreateLink, UpdateLink
from waypost.errors import FieldViolation, InvalidFields
from waypost.model import DEFAULT_REDIRECT_STATUS, REDIRECT_STATUSES, NewLink
from waypost.ports import Clock

T = TypeVar("T")

MAX_CLICKS = 1_000_000_000


class Violations:
    """Collects what is wrong, so that a caller is told of every field at once."""

    def __init__(self, found: Iterable[FieldViolation] = ()) -> None:
        self._found = list(found)

    def collect(self, check: Callable[[], T]) -> T | None:
        """What `check` returns; None if it raises `InvalidFields`, whose violations are kept."""
        try:
            return check()
        except InvalidFields as error:
            self._found += error.violations
            return None

    def raise_any(self) -> None:
        """Raises `InvalidFields` if anything was wrong."""
        if self._found:
            raise InvalidFields(self._found)


class LinkRules:
    """What may be stored of what was asked for. Raises `InvalidFields` with every field that is wrong."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock

    def new_link(self, request: CreateLink, workspace_id: UUID) -> NewLink:
        """The link to store; its short code is the alias, or still empty."""
        violations = Violations(request.content.malformed)
        values = self._values(request.content, CHANGEABLE, violations)
        if request.alias:
            violations.collect(lambda: check_alias(request.alias))
        violations.raise_any()
        return NewLink(workspace_id=workspace_id, short_code=request.alias, **values)

    def changes(self, request: UpdateLink) -> Mapping[str, Any]:
        """The attributes of `waypost.model.Link` to replace, with their new values."""
        violations = Violations(request.content.malformed)
        if not request.short_code:
            violations.collect(lambda: _refuse("short_code", "must not be empty"))
        values = self._values(request.content, request.changes, violations)
        violations.raise_any()
        return values

    def _values(self, content: Content, names: Iterable[str], violations: Violations) -> dict[str, Any]:
        checks: dict[str, tuple[str, Callable[[], Any]]] = {
            "url": ("destination", lambda: self._intake.destination(content.url)),
            "title": ("title", lambda: title_of(content.title)),
            "tags": ("tags", lambda: tags_of(content.tags)),
            "expires_at": ("expires_at", lambda: self._expiry(content)),
            "max_clicks": ("max_clicks", lambda: _max_clicks(content.max_clicks)),
            "redirect_status": ("redirect_status", lambda: _redirect_status(content.redirect_status)),
            "forward_query": ("forward_query", lambda: content.forward_query),
        }
        return {checks[name][0]: violations.collect(checks[name][1]) for name in CHANGEABLE if name in names}

    def _expiry(self, content: Content) -> datetime | None:
        return expiry_of(self._clock.now(), content.expires_at, content.ttl_seconds, "link")


def _max_clicks(number: int) -> int:
    if not 0 <= number <= MAX_CLICKS:
        _refuse("max_clicks", f"must be 1 to {MAX_CLICKS:,} (or absent: any number)")
    return number


def _redirect_status(status: int) -> int:
    if status and status not in REDIRECT_STATUSES:
        _refuse("redirect_status", "must be 301, 302, 307 or 308 (or absent: 302)")
    return status or DEFAULT_REDIRECT_STATUS


def _refuse(field: str, sentence: str) -> None:
    raise InvalidFields.one(field, sentence)
