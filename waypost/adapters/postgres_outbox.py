"""The outbox in PostgreSQL: events join the transaction that makes them true."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from uuid import uuid4

from waypost.adapters.postgres_session import Session
from waypost.adapters.queries import QUERIES
from waypost.convert import dedupe_key, event_to_proto, short_url
from waypost.model import LinkEvent

_CHUNK = 100
"""Events that are made ready at once: what else the process does is not to wait for thousands of them."""


class PostgresOutbox:
    """Events of one transaction. `public_url` is what short addresses in events begin with."""

    def __init__(self, session: Session, public_url: str) -> None:
        self._session = session
        self._public_url = public_url

    async def add_all(self, events: Iterable[LinkEvent]) -> None:
        """Writes any number of events, `_CHUNK` in a statement."""
        waiting = iter(events)
        while rows := [_outbox_row(event, self._public_url) for event in islice(waiting, _CHUNK)]:
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
