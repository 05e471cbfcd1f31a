"""`waypost audit list`: the events that match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from waypost.cli import listing
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.output import WRONG_USAGE, fail
from waypost.cli.show import timestamp
from waypost.cli.table import Column
from waypost.cli.usage import WrongUsage, instant
from waypost.client import AuditEvent, Client, Listed

PAGE_SIZE = 1000
TIMEOUT = 30.0
"""Seconds that a page may take."""


def event_object(event: AuditEvent) -> dict[str, Any]:
    """The event as the API has it in JSON."""
    return {
        "event_id": event.event_id,
        "occurred_at": timestamp(event.occurred_at),
        "principal": event.principal,
        "address": event.address,
        "action": event.action,
        "object": event.object,
        "details": dict(event.details),
        "correlation_id": event.correlation_id,
        "workspace_id": event.workspace_id,
    }


COLUMNS: Sequence[Column[AuditEvent]] = (
    Column("TIME", lambda event: f"{event.occurred_at:%Y-%m-%d %H:%M:%S}"),
    Column("ACTION", lambda event: event.action),
    Column("OBJECT", lambda event: event.object, least=12),
    Column("PRINCIPAL", lambda event: event.principal, least=12, worth=3),
    Column("ADDRESS", lambda event: event.address, worth=1),
    Column("DETAILS", lambda event: " ".join(f"{k}={v}" for k, v in sorted(event.details.items())), least=16, worth=2),
)

EVENTS = Kind("event", COLUMNS, event_object, page_size=PAGE_SIZE)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which events: those that meet all of them."""

    principal: str
    action: str
    object: str
    since: datetime | None
    until: datetime | None
    all_workspaces: bool

    @classmethod
    def of(cls, *, since: str | None, until: str | None, **others: Any) -> Conditions:
        """By the options. Raises `WrongUsage`."""
        return cls(
            since=None if since is None else instant("--from", since),
            until=None if until is None else instant("--until", until),
            **others,
        )

    async def page_after(self, client: Client, size: int, token: str) -> Listed[AuditEvent]:
        """A page of them."""
        return await client.audit.list_page(
            principal=self.principal,
            action=self.action,
            object=self.object,
            since=self.since,
            until=self.until,
            all_workspaces=self.all_workspaces,
            page_size=size,
            page_token=token,
            timeout=TIMEOUT,
        )


def show(
    env: Mapping[str, str], target: Target, *, as_json: bool, limit: int | None, everything: bool, **wanted: Any
) -> int:
    """Prints the events that match; returns the exit code."""
    try:
        conditions = Conditions.of(**wanted)
    except WrongUsage as error:
        return fail(WRONG_USAGE, str(error), as_json)
    return listing.show(env, target, EVENTS, conditions.page_after, as_json=as_json, limit=limit, everything=everything)
