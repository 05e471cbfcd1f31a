"""What the client takes and gives: plain values that know no protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Final


class LinkState(StrEnum):
    """What a link does now."""

    ACTIVE = "active"
    """It redirects."""
    EXPIRED = "expired"
    """Its time is over."""
    BLOCKED = "blocked"
    """An operator has blocked it."""
    DELETED = "deleted"
    """It was deleted."""
    EXHAUSTED = "exhausted"
    """Its `max_clicks` are used."""
    WARNED = "warned"
    """It leads somewhere doubtful; a page says so first."""
    UNKNOWN = "unknown"
    """A state that only a newer version knows."""


class DestinationFlag(StrEnum):
    """What is odd about a destination's host."""

    INTERNATIONAL_HOST = "international_host"
    MIXED_SCRIPT = "mixed_script"
    CONFUSABLE = "confusable"
    IP_ADDRESS = "ip_address"
    SHORTENER = "shortener"
    PRIVATE_HOST = "private_host"
    UNKNOWN = "unknown"
    """A flag that only a newer version knows."""


@dataclass(frozen=True, slots=True)
class Link:
    """A short link as it was when the server answered; times are in UTC.

    `expires_at` is the first instant at which it no longer redirects (None: never); `max_clicks` 0 means any number;
    `etag` names this state of it.
    """

    short_code: str
    short_url: str
    original_url: str
    title: str
    tags: tuple[str, ...]
    state: LinkState
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    max_clicks: int
    clicks_used: int
    redirect_status: int
    forward_query: bool
    etag: str
    destination_flags: tuple[DestinationFlag, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """What to make. `""`, 0 and None leave it to the server: a random code, status 302, no end, any number of clicks.

    `ttl` (from now, rounded up to whole seconds) and `expires_at` (with a time zone) exclude each other.
    """

    url: str
    alias: str = ""
    title: str = ""
    tags: Sequence[str] = ()
    ttl: timedelta | None = None
    expires_at: datetime | None = None
    max_clicks: int = 0
    redirect_status: int = 0
    forward_query: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the links asked for, in order; `next_page_token` is empty on the last page only."""

    links: tuple[Link, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a redirect would do: its HTTP status and `Location` (empty unless it would redirect and may be told).

    `state` is None when nobody has the code. Unless somebody changes the link, this stays right for `valid_for`; None:
    for good.
    """

    short_code: str
    http_status: int
    location: str
    state: LinkState | None
    valid_for: timedelta | None


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Leaves a field of an update as it is; None, `""`, `[]` and 0 clear it."""
