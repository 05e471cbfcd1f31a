"""The client's values of reports and blocked links as the contract has them, and back: pure."""

from __future__ import annotations

from collections.abc import Mapping

from waypost.api.v1 import abuse_service_pb2 as pb
from waypost.client.abuse_model import BlockedLink, Report, ReportCategory
from waypost.client.convert import time_from_proto
from waypost.errors import InvalidFields

_CATEGORIES: Mapping[int, ReportCategory] = {
    pb.REPORT_CATEGORY_PHISHING: ReportCategory.PHISHING,
    pb.REPORT_CATEGORY_MALWARE: ReportCategory.MALWARE,
    pb.REPORT_CATEGORY_SPAM: ReportCategory.SPAM,
    pb.REPORT_CATEGORY_ILLEGAL: ReportCategory.ILLEGAL,
    pb.REPORT_CATEGORY_OTHER: ReportCategory.OTHER,
}
_NUMBERS = {category: number for number, category in _CATEGORIES.items()}


def category_to_proto(category: ReportCategory | str) -> int:
    """The category's number. Raises `InvalidFields` for what is none."""
    if category not in list(ReportCategory):
        raise InvalidFields.one("category", f"must be one of {', '.join(ReportCategory)}, not {str(category)!r}")
    return _NUMBERS[ReportCategory(category)]


def report_from_proto(report: pb.Report) -> Report:
    """A report."""
    return Report(
        report_id=report.report_id,
        short_code=report.short_code,
        category=_CATEGORIES.get(report.category, ReportCategory.OTHER),
        comment=report.comment,
        contact=report.contact,
        created_at=time_from_proto(report.created_at),
        closed_at=time_from_proto(report.closed_at) if report.HasField("closed_at") else None,
        original_url=report.original_url,
        blocked=report.blocked,
        workspace_id=report.workspace_id,
    )


def blocked_from_proto(link: pb.BlockedLink) -> BlockedLink:
    """A link as operators see it."""
    return BlockedLink(
        short_code=link.short_code,
        original_url=link.original_url,
        workspace_id=link.workspace_id,
        blocked_at=time_from_proto(link.blocked_at) if link.HasField("blocked_at") else None,
        reason=link.reason,
    )
