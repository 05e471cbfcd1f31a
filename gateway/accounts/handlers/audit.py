"""What the gateway shows of the audit log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.accounts.fields import page_size
from gateway.accounts.page_tokens import PageTokens
from gateway.accounts.requests import ListEvents
from gateway.requests import Caller
from gateway.rules import Violations
from waypost.access.identity import Scope
from waypost.audit import AuditEvent, AuditQuery
from waypost.errors import InvalidFields, PermissionDenied
from waypost.ports import AuditReader

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_TEXT_BYTES = 300
"""Of a principal or an object, as stored."""

_ACTION = re.compile(r"[a-z_]{1,31}\.[a-z_]{0,31}")


class AuditHandlers:
    """The use case of AuditService."""

    def __init__(self, reader: AuditReader) -> None:
        self._reader = reader

    async def page(self, request: ListEvents, caller: Caller) -> tuple[Sequence[AuditEvent], str]:
        """A page of what was done, and the token of the next one, empty after the last; a page may be short before.

        Raises `InvalidFields`, `PermissionDenied`, `DependencyUnavailable`.
        """
        if request.all_workspaces and Scope.MESH_READ not in caller.identity.scopes:
            raise PermissionDenied(Scope.MESH_READ)
        workspace_id = None if request.all_workspaces else caller.workspace_id
        tokens = PageTokens(
            "audit", workspace_id, request.principal, request.action, request.object, request.from_, request.until
        )
        violations = Violations(request.malformed)
        size = violations.collect(lambda: page_size(request.page.size, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)) or 0
        violations.collect(lambda: _check_text("principal", request.principal))
        violations.collect(lambda: _check_text("object", request.object))
        violations.collect(lambda: _check_action(request.action))
        violations.collect(lambda: _check_times(request))
        after = violations.collect(lambda: tokens.event(request.page.token))
        violations.raise_any()
        page = await self._reader.read_audit(
            AuditQuery(
                workspace_id,
                size,
                principal=request.principal,
                action=request.action,
                object=request.object,
                from_=request.from_,
                until=request.until,
                after=after,
            )
        )
        return page.events, "" if page.next is None else tokens.of_event(page.next)


def _check_text(field: str, text: str) -> None:
    if not text.isprintable() or len(text.encode()) > MAX_TEXT_BYTES:
        raise InvalidFields.one(field, f"must be at most {MAX_TEXT_BYTES} bytes of printable text, as in an event")


def _check_action(action: str) -> None:
    if action and not _ACTION.fullmatch(action):
        raise InvalidFields.one("action", "must be an action, as in `key.create`, or all of a kind, as in `key.`")


def _check_times(request: ListEvents) -> None:
    if request.from_ is not None and request.until is not None and request.until <= request.from_:
        raise InvalidFields.one("until", "must be later than from")
