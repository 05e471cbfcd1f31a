"""Lists of links in PostgreSQL: the statement for a query, made of fixed pieces, and the page that its rows are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from waypost.adapters.queries import QUERIES
from waypost.listing import Cursor, LinkPage, ListQuery, OrderField
from waypost.model import Link, LinkState
from waypost.search_terms import TAG_MARK, WORD_MARK

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""Of the URLs and titles of a page: one of many long ones ends early."""

_NOT_EXPIRED = "(links.expires_at IS NULL OR links.expires_at > {now})"
_USED_UP = (
    "EXISTS (SELECT FROM click_budgets WHERE link_id = links.id AND links.max_clicks IS NOT NULL"
    " AND clicks_used >= links.max_clicks)"
)

# The first conditions of each are those of the index that serves it. See `waypost.model.link_state` for the precedence.
_STATES = {
    LinkState.DELETED: ("links.deleted_at IS NOT NULL",),
    LinkState.BLOCKED: ("links.blocked_at IS NOT NULL", "links.deleted_at IS NULL"),
    LinkState.EXPIRED: (
        "links.expires_at IS NOT NULL",
        "links.deleted_at IS NULL",
        "links.blocked_at IS NULL",
        "links.expires_at <= {now}",
    ),
    LinkState.EXHAUSTED: (
        "links.max_clicks IS NOT NULL",
        "links.deleted_at IS NULL",
        "links.blocked_at IS NULL",
        _NOT_EXPIRED,
        _USED_UP,
    ),
    LinkState.WARNED: (
        "links.warned_at IS NOT NULL",
        "links.deleted_at IS NULL",
        "links.blocked_at IS NULL",
        _NOT_EXPIRED,
        f"NOT {_USED_UP}",
    ),
    LinkState.ACTIVE: (
        "links.deleted_at IS NULL",
        "links.blocked_at IS NULL",
        "links.warned_at IS NULL",
        "links.expired_at IS NULL",
        _NOT_EXPIRED,
        f"NOT {_USED_UP}",
    ),
    None: ("links.deleted_at IS NULL",),
}

_COLUMNS = {
    OrderField.CREATED_AT: "links.created_at",
    OrderField.UPDATED_AT: "links.updated_at",
    OrderField.SHORT_CODE: "links.short_code",
}


class _Statement:
    """A statement in the making. Values only ever become parameters."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self.tables = ["links"]
        self.conditions: list[str] = []

    def value(self, value: object, kind: str) -> str:
        """The parameter that stands for a value of this type."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


def list_statement(workspace_id: UUID, query: ListQuery, now: datetime) -> tuple[str, list[object]]:
    """The statement that reads the query's page and one row more, and its values."""
    statement = _Statement()
    workspace = statement.value(workspace_id, "uuid")
    statement.conditions.append(f"links.workspace_id = {workspace}")
    _add_state(statement, query, now)
    terms = _join_terms(statement, query, workspace)
    _add_prefixes(statement, query, workspace)
    _add_times(statement, query, terms)
    _add_cursor(statement, query, terms)
    column, direction = _COLUMNS[query.order.field], "DESC" if query.order.descending else "ASC"
    size = statement.value(query.size + 1, "bigint")
    return (
        f"{QUERIES['select_links']} FROM {', '.join(statement.tables)} WHERE {' AND '.join(statement.conditions)}"
        f" ORDER BY {column} {direction}, links.id {direction} LIMIT {size}",
        statement.values,
    )


def page_of(rows: Sequence[asyncpg.Record], query: ListQuery, link_of: Callable[[asyncpg.Record], Link]) -> LinkPage:
    """The page, and where the next one begins if there is one."""
    size = 0
    for count, row in enumerate(rows):
        if count == query.size or size > MAX_PAGE_BYTES:
            last = rows[count - 1]
            return LinkPage(tuple(map(link_of, rows[:count])), Cursor(last[query.order.field.value], last["id"]))
        size += len(row["original_url"]) + len(row["title"])
    return LinkPage(tuple(map(link_of, rows)), None)


def _add_state(statement: _Statement, query: ListQuery, now: datetime) -> None:
    conditions = _STATES[query.filter.state]
    time = statement.value(now, "timestamptz") if any("{now}" in condition for condition in conditions) else ""
    statement.conditions += [condition.format(now=time) for condition in conditions]


def _join_terms(statement: _Statement, query: ListQuery, workspace: str) -> list[str]:
    """Joins the index of terms once for each; a link has a term once, so none comes twice. Returns the aliases."""
    marked = [TAG_MARK + tag for tag in query.filter.tags] + [WORD_MARK + word for word in query.filter.words]
    aliases = []
    for count, term in enumerate(marked):
        alias = f"term{count}"
        aliases.append(alias)
        statement.tables.append(f"link_terms AS {alias}")
        statement.conditions += [
            f"{alias}.workspace_id = {workspace}",
            f"{alias}.term = {statement.value(term, 'text')}",
            # Both, so that what the index brings in the order of time need not be sorted.
            f"{alias}.created_at = links.created_at",
            f"{alias}.link_id = links.id",
        ]
    return aliases


def _add_prefixes(statement: _Statement, query: ListQuery, workspace: str) -> None:
    for prefix in query.filter.prefixes:
        first = statement.value(WORD_MARK + prefix, "text")
        # No character sorts behind this one.
        last = statement.value(WORD_MARK + prefix + "\U0010ffff", "text")
        statement.conditions.append(
            "links.id IN (SELECT link_id FROM link_terms"  # noqa: S608 - names of parameters, never values
            f" WHERE workspace_id = {workspace} AND term >= {first} AND term <= {last})"
        )


def _add_times(statement: _Statement, query: ListQuery, terms: Sequence[str]) -> None:
    bounds = []
    if query.filter.created_from is not None:
        bounds.append(f">= {statement.value(query.filter.created_from, 'timestamptz')}")
    if query.filter.created_before is not None:
        bounds.append(f"< {statement.value(query.filter.created_before, 'timestamptz')}")
    # For each index that may lead the way: the planner passes on what is equal, not what is larger or smaller.
    for table in ("links", *terms):
        statement.conditions += [f"{table}.created_at {bound}" for bound in bounds]


def _add_cursor(statement: _Statement, query: ListQuery, terms: Sequence[str]) -> None:
    if query.after is None:
        return
    by_time = query.order.field is not OrderField.SHORT_CODE
    key = statement.value(query.after.key, "timestamptz" if by_time else "text")
    row_id = statement.value(query.after.id, "bigint")
    beyond = "<" if query.order.descending else ">"
    column = _COLUMNS[query.order.field]
    statement.conditions.append(f"({column}, links.id) {beyond} ({key}, {row_id})")
    if query.order.field is OrderField.CREATED_AT:
        statement.conditions += [f"({term}.created_at, {term}.link_id) {beyond} ({key}, {row_id})" for term in terms]
