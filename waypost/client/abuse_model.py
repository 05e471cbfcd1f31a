"""Reports of links and links that are blocked, as the client gives them: plain values that know no protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ReportCategory(StrEnum):
    """What is wrong with a link."""

    PHISHING = "phishing"
    MALWARE = "malware"
    SPAM = "spam"
    ILLEGAL = "illegal"
    OTHER = "other"
    """See the comment; also what was reported without a category, or with one that only a newer version knows."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report of a link. `comment` and `contact` are a stranger's words: neither to be believed nor shown as HTML.

    `closed_at` None: it is open. `original_url` is where the link leads now, not to be opened without care.
    """

    report_id: str
    short_code: str
    category: ReportCategory
    comment: str
    contact: str
    created_at: datetime
    closed_at: datetime | None
    original_url: str
    blocked: bool
    workspace_id: str


@dataclass(frozen=True, slots=True)
class BlockedLink:
    """A link as operators see it; `blocked_at` None: it is not blocked."""

    short_code: str
    original_url: str
    workspace_id: str
    blocked_at: datetime | None
    reason: str
