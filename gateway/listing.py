"""From the fields of ListLinks to the page that is asked for, and to the token of the next one. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from gateway import page_tokens
from gateway.filters import page_size, parse_filter, parse_order
from waypost.errors import FieldViolation, InvalidFields
from waypost.listing import Cursor, ListQuery

T = TypeVar("T")


def list_query(workspace_id: UUID, *, filter_text: str, order_by: str, size: int, page_token: str) -> ListQuery:
    """The page that the fields ask for; "" and 0 mean absent. Raises `InvalidFields` with every wrong field.

    A token can only be judged by a filter and an order that are right.
    """
    violations: list[FieldViolation] = []

    def collect(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except InvalidFields as error:
            violations.extend(error.violations)
            return None

    most = collect(lambda: page_size(size))
    link_filter = collect(lambda: parse_filter(filter_text))
    order = collect(lambda: parse_order(order_by))
    after: Cursor | None = None
    if page_token and link_filter is not None and order is not None:
        binding = page_tokens.binding_of(workspace_id, link_filter, order)
        after = collect(lambda: page_tokens.decode(page_token, binding))
    if violations or most is None or link_filter is None or order is None:
        raise InvalidFields(violations)
    return ListQuery(link_filter, order, most, after)


def next_page_token(workspace_id: UUID, query: ListQuery, last: Cursor) -> str:
    """The token of the page that follows the row `last` of this one."""
    return page_tokens.encode(last, page_tokens.binding_of(workspace_id, query.filter, query.order))
