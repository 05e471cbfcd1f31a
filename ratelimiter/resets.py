"""Forgetting counters because an operator says so: never without a trace of who that was."""

from __future__ import annotations

import json

import structlog

from ratelimiter.handlers import Checker
from ratelimiter.overrides.requests import Caller
from ratelimiter.requests import LimitRequest, validate
from waypost.audit import Action, entry_of
from waypost.model import DEFAULT_WORKSPACE
from waypost.override_ports import AuditLog

MAX_LOGGED = 2000
"""Characters of the descriptors in the log; the audit log has a bound of its own."""


class Resets:
    """The use case. `audit` None: there is no database, and the process' log alone has it."""

    def __init__(self, checker: Checker, audit: AuditLog | None) -> None:
        self._checker = checker
        self._audit = audit

    async def reset(self, request: LimitRequest, caller: Caller) -> int:
        """Forgets the counters of a request's descriptors; how many there were.

        It is in the audit log before it is done. Raises `InvalidFields`, and `DependencyUnavailable`: nothing was
        forgotten if it is the database that does not answer.
        """
        validate(request)
        # As JSON, in which no value can look like another descriptor.
        descriptors = json.dumps(
            [[[entry.key, entry.value] for entry in descriptor.entries] for descriptor in request.descriptors],
            ensure_ascii=False,
        )
        count = str(len(request.descriptors))
        details = {"domain": request.domain, "descriptors": descriptors, "descriptor_count": count}
        if request.owner:
            details["workspace_id"] = request.owner
        if self._audit is not None:
            # Into the log of the mesh's first workspace, as overrides; texts of PostgreSQL have no U+0000.
            named = request.domain.replace("\0", "?")
            await self._audit.record(
                entry_of(caller.identity, caller.correlation_id, Action.LIMIT_RESET, named, details, DEFAULT_WORKSPACE)
            )
        counters: int | None = None
        try:
            counters = await self._checker.reset(request)
        finally:
            # None: the store has not said.
            structlog.get_logger().info(
                "limit_reset",
                **details | {"descriptors": _shortened(descriptors)},
                counters=counters,
                principal=caller.identity.principal,
                address=caller.identity.address,
                correlation_id=caller.correlation_id,
            )
        return counters


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_LOGGED else text[: MAX_LOGGED - 1] + "…"
