"""The outbox in PostgreSQL: events join the transaction that makes them true."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from waypost.adapters.postgres_session import Session
from waypost.adapters.queries import QUERIES
from waypost.convert import dedupe_key, event_to_proto, short_url
from waypost.model import LinkEvent


class PostgresOutbox:
    """Events of one transaction. `public_url` is what short addresses in events begin with."""

    def __init__(self, session: Session, public_url: str) -> None:
        self._session = session
        self._public_url = public_url

    async def add_all(self, events: Iterable[LinkEvent]) -> None:
        """Writes any number of events in one statement."""
        rows = [_outbox_row(event, self._public_url) for event in events]
        if rows:
            await self._session.execute(QUERIES["insert_events"], *map(list, zip(*rows, strict=True)))


def _outbox_row(event: LinkEvent, public_url: str) -> tuple[object, ...]:
    link = event.link
    event_id = uuid4()
    message = event_to_proto(event, event_id, short_url(public_url, link.short_code))
    return (
        event_id,
        event.type.value,
        link.short_code,
        link.version,
        link.workspace_id,
        dedupe_key(event),
        event.correlation_id,
        event.traceparent,
        link.updated_at,
        message.SerializeToString(),
    )
