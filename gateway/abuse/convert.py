"""Protobuf to values and back, for AbuseService. Pure."""

from __future__ import annotations

from types import MappingProxyType

from gateway.abuse.requests import ListReports, ReportLink
from waypost.abuse import BlockedLink, BlockedPage, Report, ReportCategory
from waypost.api.v1 import abuse_service_pb2 as pb
from waypost.convert import timestamp
from waypost.errors import FieldViolation

CATEGORIES = MappingProxyType(
    {
        ReportCategory.PHISHING: pb.REPORT_CATEGORY_PHISHING,
        ReportCategory.MALWARE: pb.REPORT_CATEGORY_MALWARE,
        ReportCategory.SPAM: pb.REPORT_CATEGORY_SPAM,
        ReportCategory.ILLEGAL: pb.REPORT_CATEGORY_ILLEGAL,
        ReportCategory.OTHER: pb.REPORT_CATEGORY_OTHER,
    }
)

_BY_NUMBER = {
    pb.REPORT_CATEGORY_UNSPECIFIED: ReportCategory.OTHER,
    **{number: category for category, number in CATEGORIES.items()},
}


def report_from_proto(request: pb.ReportLinkRequest) -> ReportLink:
    """The request as values; a category that is none is `malformed`, to be said beside whatever else is wrong."""
    category = _BY_NUMBER.get(request.category)
    malformed: list[FieldViolation] = []
    if category is None:
        names = ", ".join(pb.ReportCategory.Name(number) for number in CATEGORIES.values())
        malformed.append(FieldViolation("category", f"{request.category} is no category: give one of {names}"))
    return ReportLink(
        request.link, category or ReportCategory.OTHER, request.comment, request.contact, tuple(malformed)
    )


def list_from_proto(request: pb.ListReportsRequest) -> ListReports:
    """The request as values."""
    return ListReports(request.page_size, request.page_token, request.closed, request.link)


def report_to_proto(report: Report) -> pb.Report:
    """The report as operators see it."""
    return pb.Report(
        report_id=str(report.report_id),
        short_code=report.short_code,
        category=CATEGORIES[report.category],
        comment=report.comment,
        contact=report.contact,
        created_at=timestamp(report.created_at),
        closed_at=None if report.closed_at is None else timestamp(report.closed_at),
        original_url=report.url,
        blocked=report.blocked,
        workspace_id=str(report.workspace_id),
    )


def blocked_to_proto(link: BlockedLink) -> pb.BlockedLink:
    """The link as operators see it."""
    return pb.BlockedLink(
        short_code=link.short_code,
        original_url=link.url,
        workspace_id=str(link.workspace_id),
        blocked_at=None if link.blocked_at is None else timestamp(link.blocked_at),
        reason=link.reason,
    )


def blocked_page_to_proto(page: BlockedPage, next_page_token: str) -> pb.ListBlockedLinksResponse:
    """The page."""
    return pb.ListBlockedLinksResponse(links=map(blocked_to_proto, page.links), next_page_token=next_page_token)
