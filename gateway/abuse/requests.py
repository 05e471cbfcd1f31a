"""What callers ask of AbuseService, as plain values: as it came, not yet checked."""

from __future__ import annotations

from dataclasses import dataclass

from waypost.abuse import ReportCategory
from waypost.errors import FieldViolation


@dataclass(frozen=True, slots=True)
class ReportLink:
    """A report by a stranger. `link`: a short code or a whole short address. `malformed`: fields without a value."""

    link: str
    category: ReportCategory
    comment: str
    contact: str
    malformed: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True)
class ListReports:
    """Which page of which reports; 0 and "": absent."""

    size: int
    page_token: str
    closed: bool
    short_code: str
