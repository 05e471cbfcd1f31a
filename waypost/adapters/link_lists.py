"""Lists of links in PostgreSQL: the work for a page is bounded, whatever is asked for.

A page is read from one source: all links in the order asked for, or those that one index has of one condition. All
other conditions are judged link by link. In the order of making, terms and states are followed until the page is full;
where there is a choice, that which is the sparsest there. In other orders, a source that is small is read whole and
sorted; if none is, all links are followed. A page ends after `MAX_SCANNED` links, full or not; the next goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg

from waypost.adapters.link_list_pieces import MAX_SCANNED, Source, Statement, by_time, limit_of, prefixes_of, terms_of
from waypost.adapters.queries import QUERIES
from waypost.listing import Cursor, LinkPage, ListQuery
from waypost.model import Link, LinkState

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""Of the links of a page, about: one of many long ones ends early, since gRPC clients take 4 MiB."""
_ROW_BYTES = 300

MAX_ROUNDS = 5
"""Statements of which none finds anything before an empty page is returned."""


class Fetches(Protocol):
    """A connection."""

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]: ...


@dataclass(frozen=True, slots=True)
class Measure:
    """How many links a source has, at most its limit, and when the last of these in the list's direction was made."""

    count: int
    edge: datetime | None


_WIDE_STATES = (None, LinkState.ACTIVE)
"""So many links that there is nothing to be gained from measuring them."""


async def read_page(
    session: Fetches, workspace_id: UUID, query: ListQuery, now: datetime, link_of: Callable[[asyncpg.Record], Link]
) -> LinkPage:
    """Reads the query's page. It may have fewer links than asked for, or none, although more follow."""
    for _ in range(MAX_ROUNDS):
        measures = []
        if sources(query):
            statement, values = measure_statement(workspace_id, query)
            measures = [Measure(row["count"], row["edge"]) for row in await session.fetch(statement, *values)]
        statement, values = page_statement(workspace_id, query, now, measures)
        page = page_of(await session.fetch(statement, *values), query, link_of)
        if page.links or page.next is None:
            break
        query = replace(query, after=page.next)
    return page


def sources(query: ListQuery) -> list[Source]:
    """The sources among which to choose by their measures; none: there is no choice."""
    found = [
        *(Source(term=term) for term in terms_of(query)),
        *(Source(prefix=prefix) for prefix in prefixes_of(query)),
    ]
    bounded = query.filter.created_from is not None or query.filter.created_before is not None
    if query.filter.state not in _WIDE_STATES or bounded:
        found.append(Source())
    return [] if by_time(query) and len(found) == 1 and found[0].prefix is None else found


def measure_statement(workspace_id: UUID, query: ListQuery) -> tuple[str, list[object]]:
    """The statement whose rows are the measures of the `sources`, in order, and its values."""
    statement = Statement(workspace_id, query)
    edge = "min" if query.order.descending else "max"
    parts = [
        f"SELECT {place} AS place, count(*) AS count, {edge}(created_at) AS edge"  # noqa: S608 - no values, see Statement
        f" FROM ({statement.source(source)} LIMIT {limit_of(source, query)}) AS source"
        for place, source in enumerate(sources(query))
    ]
    return f"{' UNION ALL '.join(parts)} ORDER BY place", statement.values


def page_statement(
    workspace_id: UUID, query: ListQuery, now: datetime, measures: Sequence[Measure]
) -> tuple[str, list[object]]:
    """The statement that reads the query's page and one row more, and its values. `measures`: those of `sources`.

    Each row is a link with `found`, whether it belongs to the list, and `place`: `MAX_SCANNED` for the last link that
    was looked at if more may follow, which comes also when it does not belong.
    """
    statement = Statement(workspace_id, query)
    source, whole = _choice(query, measures)
    judgement = statement.judgement(now)
    if source is not None and whole:
        rows, place = statement.whole(source), "0"
        chosen, order = (
            f"{judgement} AND {statement.beyond('links', 'id')}",
            statement.order(f"links.{query.order.field}"),
        )
    else:
        by_term = source is not None and source.term is not None
        rows = statement.along_term(source) if source is not None and by_term else statement.along_links()
        place = "scan.place" if by_term else "links.place"
        order = (
            statement.order("scan.created_at", "scan.id") if by_term else statement.order(f"links.{query.order.field}")
        )
        chosen = f"({judgement}) OR {place} = {MAX_SCANNED}"
    size = statement.value(query.size + 1, "bigint")
    return (
        f"{QUERIES['select_links']}, {place} AS place, ({judgement}) AS found"
        f" FROM {rows} WHERE {chosen} ORDER BY {order} LIMIT {size}",
        statement.values,
    )


def page_of(rows: Sequence[asyncpg.Record], query: ListQuery, link_of: Callable[[asyncpg.Record], Link]) -> LinkPage:
    """The page, and where the next one begins if there is one."""
    found = [row for row in rows if row["found"]]
    size = 0
    for count, row in enumerate(found):
        if count == query.size or size > MAX_PAGE_BYTES:
            return LinkPage(tuple(map(link_of, found[:count])), _cursor(found[count - 1], query))
        size += _ROW_BYTES + sum(map(_bytes, (row["original_url"], row["title"], *row["tags"])))
    cut = bool(rows) and rows[-1]["place"] == MAX_SCANNED
    return LinkPage(tuple(map(link_of, found)), _cursor(rows[-1], query) if cut else None)


def _choice(query: ListQuery, measures: Sequence[Measure]) -> tuple[Source | None, bool]:
    """The source to read from, and whether to read it whole; None: all links, in their order."""
    found = sources(query)
    if not found:
        terms = terms_of(query)
        return (Source(term=terms[0]) if terms else None), False
    measured = list(zip(measures, found, strict=True))
    small = [(measure.count, source) for measure, source in measured if measure.count < limit_of(source, query)]
    if small:
        source = min(small, key=lambda pair: pair[0])[1]
        return source, source.prefix is not None or not by_time(query)
    # Of as many links of each, those that reach furthest are the sparsest just here.
    edges = [(measure.edge, source) for measure, source in measured if source.prefix is None and measure.edge]
    if not edges or not by_time(query):
        return None, False
    return (min if query.order.descending else max)(edges, key=lambda pair: pair[0])[1], False


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _cursor(row: asyncpg.Record, query: ListQuery) -> Cursor:
    return Cursor(row[query.order.field.value], row["id"])
