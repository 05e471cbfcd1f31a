"""The pieces of which the statements for lists of links are made; values only ever become parameters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from waypost.listing import ListQuery, OrderField
from waypost.model import LinkState
from waypost.search_terms import tag_term, word_term

MAX_SCANNED = 10_000
"""Links that one statement looks at."""

SMALL = 5_000
"""A source of fewer links may be read whole. With `MAX_SCANNED`: pages of 50 are full up to about a million links."""

JOINED = 20_000
"""As `SMALL`, for a term beside others: the index tells which of its links have them, too."""

NEAR = 1_000
"""Links of each source that are looked at to find the sparsest."""

_NOT_DELETED = "links.deleted_at IS NULL"
_NOT_BLOCKED = "links.blocked_at IS NULL"
_NOT_EXPIRED = "(links.expires_at IS NULL OR links.expires_at > {now})"
_USED_UP = (
    "(links.max_clicks IS NOT NULL AND"
    " coalesce((SELECT clicks_used FROM click_budgets WHERE link_id = links.id) >= links.max_clicks, false))"
)


class Source(NamedTuple):
    """Links that an index has together: those with a term, with terms that begin so, or (neither) in the state."""

    term: str | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class _State:
    """The conditions of a state: those of its index, and the others. See `waypost.model.link_state`."""

    held: tuple[str, ...]
    judged: tuple[str, ...] = ()


_STATES = {
    None: _State((_NOT_DELETED,)),
    LinkState.DELETED: _State(("links.deleted_at IS NOT NULL",)),
    LinkState.BLOCKED: _State(("links.blocked_at IS NOT NULL", _NOT_DELETED)),
    LinkState.EXPIRED: _State(
        ("links.expires_at IS NOT NULL", _NOT_DELETED, _NOT_BLOCKED), ("links.expires_at <= {now}",)
    ),
    LinkState.EXHAUSTED: _State(("links.max_clicks IS NOT NULL", _NOT_DELETED), (_NOT_BLOCKED, _NOT_EXPIRED, _USED_UP)),
    LinkState.WARNED: _State(
        ("links.warned_at IS NOT NULL", _NOT_DELETED), (_NOT_BLOCKED, _NOT_EXPIRED, f"NOT {_USED_UP}")
    ),
    LinkState.ACTIVE: _State(
        (_NOT_DELETED, _NOT_BLOCKED, "links.expired_at IS NULL", "links.warned_at IS NULL"),
        (_NOT_EXPIRED, f"NOT {_USED_UP}"),
    ),
}


class Statement:
    """The pieces of a statement. Values only ever become parameters, and each is one only once."""

    def __init__(self, workspace_id: UUID, query: ListQuery) -> None:
        self._query = query
        self._parameters: dict[tuple[str, str], str] = {}
        self.values: list[object] = []
        self._workspace = self.value(workspace_id, "uuid")

    def value(self, value: object, kind: str) -> str:
        """The parameter that stands for a value of this type."""
        known = (repr(value), kind)
        if known not in self._parameters:
            self.values.append(value)
            self._parameters[known] = f"${len(self.values)}::{kind}"
        return self._parameters[known]

    def order(self, key: str, row_id: str = "links.id") -> str:
        """What follows ORDER BY."""
        direction = "DESC" if self._query.order.descending else "ASC"
        return f"{key} {direction}, {row_id} {direction}"

    def beyond(self, table: str, row_id: str) -> str:
        """That a row follows the cursor."""
        after = self._query.after
        if after is None:
            return "true"
        key = self.value(after.key, "text" if isinstance(after.key, str) else "timestamptz")
        sign = "<" if self._query.order.descending else ">"
        return f"({table}.{self._query.order.field}, {table}.{row_id}) {sign} ({key}, {self.value(after.id, 'bigint')})"

    def judgement(self, now: datetime) -> str:
        """Whether a link is what the filter asks for."""
        state = _STATES[self._query.filter.state]
        conditions = [*state.held, *state.judged, *self._bounds("links")]
        if any("{now}" in condition for condition in conditions):
            time = self.value(now, "timestamptz")
            conditions = [condition.replace("{now}", time) for condition in conditions]
        if terms := terms_of(self._query):
            conditions.append(f"links.terms @> {self.value(terms, 'text[]')}")
        for prefix in prefixes_of(self._query):
            own = self._begins('own.term COLLATE "C"', prefix)
            conditions.append(f"EXISTS (SELECT FROM unnest(links.terms) AS own (term) WHERE {own})")
        return " AND ".join(conditions)

    def source(self, source: Source) -> str:
        """`created_at` and `id` of a source's links, as far as its index knows; those of a prefix in no order."""
        if source.prefix is not None:
            conditions = [
                f"link_terms.workspace_id = {self._workspace}",
                self._begins("link_terms.term", source.prefix),
            ]
            return f"SELECT created_at, link_id AS id FROM link_terms WHERE {' AND '.join(conditions)}"  # noqa: S608
        table, row_id = ("links", "id") if source.term is None else ("link_terms", "link_id")
        conditions = [f"{table}.workspace_id = {self._workspace}", *self._bounds(table)]
        if by_time(self._query):
            conditions.append(self.beyond(table, row_id))
        if source.term is None:
            conditions += _STATES[self._query.filter.state].held
        else:
            conditions.append(f"link_terms.term = {self.value(source.term, 'text')}")
        return (
            f"SELECT created_at, {row_id} AS id FROM {table} WHERE {' AND '.join(conditions)}"  # noqa: S608
            f" ORDER BY {self.order('created_at', row_id)}"
        )

    def whole(self, source: Source) -> str:
        """The links of a small source, each once, as far as they have all terms."""
        return (
            f"(SELECT DISTINCT id FROM ({self.source(source)} LIMIT {limit_of(source, self._query)}) AS source"  # noqa: S608
            f" WHERE {self._has_terms('source', but=source.term)}) AS scan {_look_up('true')}"
        )

    def along_term(self, source: Source) -> str:
        """The links of a term in the order of making."""
        order = self.order("created_at", "id")
        numbered = (
            f"SELECT created_at, id, row_number() OVER (ORDER BY {order}) AS place"  # noqa: S608
            f" FROM ({self.source(source)}) AS source ORDER BY {order} LIMIT {MAX_SCANNED}"
        )
        likely = f"place = {MAX_SCANNED} OR {self._has_terms('numbered', but=source.term)}"
        return (
            f"(SELECT numbered.*, ({likely}) AS likely FROM ({numbered}) AS numbered ORDER BY {order} OFFSET 0) AS scan"  # noqa: S608
            f" {_look_up('scan.likely')}"
        )

    def along_links(self) -> str:
        """All links in the order of the list; in the order of making, those of the state."""
        query = self._query
        conditions = [f"links.workspace_id = {self._workspace}", self.beyond("links", "id")]
        if by_time(query):
            conditions += [*_STATES[query.filter.state].held, *self._bounds("links")]
        else:
            conditions += _STATES[LinkState.DELETED if query.filter.state is LinkState.DELETED else None].held
        order = self.order(f"links.{query.order.field}")
        return (
            f"(SELECT links.*, row_number() OVER (ORDER BY {order}) AS place FROM links"  # noqa: S608
            f" WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {MAX_SCANNED}) AS links"
        )

    def _has_terms(self, source: str, *, but: str | None) -> str:
        """That a link has all other terms: by their index, near to where the last link was looked for."""
        # Without coalesce it would be unknown whether it has the first of them, and all would be looked for.
        probes = [
            f"coalesce((SELECT true FROM link_terms WHERE link_terms.workspace_id = {self._workspace}"  # noqa: S608
            f" AND link_terms.term = {self.value(term, 'text')} AND link_terms.created_at = {source}.created_at"
            f" AND link_terms.link_id = {source}.id), false)"
            for term in terms_of(self._query)
            if term != but
        ]
        return " AND ".join(probes) or "true"

    def _bounds(self, table: str) -> list[str]:
        """The filter's bounds of the time of making."""
        first, end = self._query.filter.created_from, self._query.filter.created_before
        bounds = [] if first is None else [f"{table}.created_at >= {self.value(first, 'timestamptz')}"]
        return bounds if end is None else [*bounds, f"{table}.created_at < {self.value(end, 'timestamptz')}"]

    def _begins(self, column: str, prefix: str) -> str:
        # No character sorts behind the last one.
        last = self.value(prefix + "\U0010ffff", "text")
        return f"{column} >= {self.value(prefix, 'text')} AND {column} <= {last}"


def _look_up(condition: str) -> str:
    # OFFSET keeps the planner from making anything else of it: links are looked up by their ids, in the scan's order.
    where = f"links.id = scan.id AND {condition}"
    return f"CROSS JOIN LATERAL (SELECT * FROM links WHERE {where} OFFSET 0) AS links"  # noqa: S608


def limit_of(source: Source, query: ListQuery) -> int:
    """How many links of a source are looked at to measure it; one that has fewer is small."""
    if source.prefix is not None:
        return SMALL
    if by_time(query):
        return NEAR
    return JOINED if source.term is not None and len(terms_of(query)) > 1 else SMALL


def by_time(query: ListQuery) -> bool:
    """Whether the list is in the order of making, as terms and states are."""
    return query.order.field is OrderField.CREATED_AT


def terms_of(query: ListQuery) -> list[str]:
    """The terms that the links have."""
    return [*map(tag_term, query.filter.tags), *map(word_term, query.filter.words)]


def prefixes_of(query: ListQuery) -> list[str]:
    """What terms that the links have begin with."""
    return list(map(word_term, query.filter.prefixes))
