"""Reports of harmful links, and blocked links, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from waypost.model import Link

MAX_OPEN_BY_ADDRESS = 20
"""Most open reports that are kept of one link from one address within a day; what is more says nothing new."""
MAX_OPEN_OF_LINK = 1000
"""Most open reports that are kept of one link, from all addresses."""


class ReportCategory(StrEnum):
    """What is said to be wrong with a link; see `waypost.api.v1.ReportCategory`."""

    PHISHING = "phishing"
    MALWARE = "malware"
    SPAM = "spam"
    ILLEGAL = "illegal"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report that is not stored yet; comment, contact and address come from a stranger."""

    report_id: UUID
    short_code: str
    category: ReportCategory
    comment: str
    contact: str
    address: str


@dataclass(frozen=True, slots=True)
class Report:
    """A stored report, with what its link is now."""

    report_id: UUID
    short_code: str
    category: ReportCategory
    comment: str
    contact: str
    created_at: datetime
    closed_at: datetime | None
    url: str
    blocked: bool
    workspace_id: UUID


@dataclass(frozen=True, slots=True)
class BlockedLink:
    """A link as operators see it. `blocked_at` None: it is not blocked."""

    short_code: str
    url: str
    workspace_id: UUID
    blocked_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list that is ordered by a time."""

    at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class BlockableLink:
    """A whole link, and what only operators see of it. `reason`: why it is blocked, or was blocked last."""

    link: Link
    blocked_at: datetime | None
    reason: str

    @property
    def seen(self) -> BlockedLink:
        """As operators see it."""
        return BlockedLink(
            self.link.short_code,
            self.link.destination.url,
            self.link.workspace_id,
            self.blocked_at,
            self.reason if self.blocked_at is not None else "",
        )


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """Which reports, the oldest first: open ones or `closed` ones; `short_code` "": of all links.

    `after`: those behind this place.
    """

    size: int
    closed: bool = False
    short_code: str = ""
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A page; `next`: where the next one begins, None after the last."""

    reports: tuple[Report, ...]
    next: Place | None


@dataclass(frozen=True, slots=True)
class BlockedPage:
    """A page; `next`: where the next one begins, None after the last."""

    links: tuple[BlockedLink, ...]
    next: Place | None
