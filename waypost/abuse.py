"""Reports of harmful links, and blocked links, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


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
