"""The audit log in PostgreSQL: entries join the transaction that does what they say."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import orjson

from waypost.adapters.postgres_session import Session
from waypost.adapters.queries import QUERIES
from waypost.audit import AuditEntry

_CHUNK = 250
"""Entries that are made ready at once: what else the process does is not to wait for thousands of them."""

MAX_DETAIL = 2000
"""Characters of one detail; what is longer is cut, and says so."""


class PostgresAudit:
    """The entries of one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add_all(self, entries: Iterable[AuditEntry]) -> None:
        """Writes any number of entries, `_CHUNK` in a statement."""
        waiting = iter(entries)
        while rows := [_row(entry) for entry in islice(waiting, _CHUNK)]:
            await self._session.execute(QUERIES["insert_audit"], *map(list, zip(*rows, strict=True)))


def _row(entry: AuditEntry) -> tuple[object, ...]:
    return (
        entry.workspace_id,
        entry.principal,
        entry.address,
        entry.action.value,
        entry.object,
        orjson.dumps({key: _cut(value) for key, value in entry.details.items()}).decode(),
        entry.correlation_id[:128],
    )


def _cut(text: str) -> str:
    """What PostgreSQL's JSON can hold, and not too much of it."""
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
