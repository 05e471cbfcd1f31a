"""What lists of links are asked for, as plain values, and a filter's text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from waypost.model import Link, LinkState

NEEDS_QUOTES = re.compile(r'[\s"()=<>:]')
"""What may not stand in a value without quotes; an empty value needs them, too."""


@dataclass(frozen=True, slots=True)
class LinkFilter:
    """Which links: those for which all of this holds.

    `state` None: any but deleted. `tags` as links have them. `created_from` is inclusive, `created_before` exclusive;
    both UTC, to the microsecond. `words` and `prefixes` (of words) are as `waypost.search_terms` has them.
    """

    state: LinkState | None = None
    tags: tuple[str, ...] = ()
    created_from: datetime | None = None
    created_before: datetime | None = None
    words: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


class OrderField(StrEnum):
    """What lists are ordered by; links that are alike in it follow in the order of their making."""

    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    SHORT_CODE = "short_code"


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list. Its text is that of the contract's `order_by`."""

    field: OrderField = OrderField.CREATED_AT
    descending: bool = True

    def __str__(self) -> str:
        return f"{self.field} desc" if self.descending else str(self.field)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place behind a link: its value of the order's field (a time in UTC, or its code), and its row's id."""

    key: datetime | str
    id: int


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One page: at most `size` links that follow `after`; None: from the beginning."""

    filter: LinkFilter = LinkFilter()
    order: Order = Order()
    size: int = 50
    after: Cursor | None = None


@dataclass(frozen=True, slots=True)
class LinkPage:
    """The links of a page, in their order, and where the next page begins; None: this is the last one."""

    links: tuple[Link, ...]
    next: Cursor | None


def to_text(link_filter: LinkFilter) -> str:
    """The filter as `ListLinksRequest.filter` has it; empty if it asks for nothing. Reading it gives it back."""
    conditions = [] if link_filter.state is None else [f"state = {link_filter.state}"]
    conditions += [f"tag = {quoted(tag)}" for tag in link_filter.tags]
    if link_filter.created_from is not None:
        conditions.append(f'created_at >= "{_instant(link_filter.created_from)}"')
    if link_filter.created_before is not None:
        conditions.append(f'created_at < "{_instant(link_filter.created_before)}"')
    if found := " ".join([*link_filter.words, *(f"{prefix}*" for prefix in link_filter.prefixes)]):
        conditions.append(f"text : {quoted(found)}")
    return " AND ".join(conditions)


def quoted(value: str) -> str:
    """The value as it stands in a filter: in quotes where it needs them."""
    if value and not NEEDS_QUOTES.search(value):
        return value
    return '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))


def _instant(at: datetime) -> str:
    """RFC 3339, in UTC."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
