"""AbuseService: protobuf in, use case, protobuf out."""

from __future__ import annotations

from typing import Any

from gateway.abuse.convert import (
    blocked_page_to_proto,
    blocked_to_proto,
    list_from_proto,
    report_from_proto,
    report_to_proto,
)
from gateway.abuse.handlers import AbuseHandlers
from gateway.service import caller_of
from waypost.api.v1 import abuse_service_pb2 as pb
from waypost.api.v1 import abuse_service_pb2_grpc as pb_grpc


class AbuseService(pb_grpc.AbuseServiceServicer):
    """The public API of reports and blocked links. Errors are raised as they are; the chain makes statuses of them."""

    def __init__(self, abuse: AbuseHandlers) -> None:
        self._abuse = abuse

    async def ReportLink(self, request: pb.ReportLinkRequest, context: Any) -> pb.ReportLinkResponse:
        """See the contract."""
        report_id = await self._abuse.report(report_from_proto(request), context.identity.address)
        return pb.ReportLinkResponse(report_id=str(report_id))

    async def ListReports(self, request: pb.ListReportsRequest, context: Any) -> pb.ListReportsResponse:
        """See the contract."""
        page, next_page_token = await self._abuse.reports(list_from_proto(request))
        return pb.ListReportsResponse(reports=map(report_to_proto, page.reports), next_page_token=next_page_token)

    async def CloseReport(self, request: pb.CloseReportRequest, context: Any) -> pb.Report:
        """See the contract."""
        return report_to_proto(await self._abuse.close(request.report_id, caller_of(context)))

    async def BlockLink(self, request: pb.BlockLinkRequest, context: Any) -> pb.BlockedLink:
        """See the contract."""
        caller = caller_of(context)
        return blocked_to_proto(await self._abuse.block(request.short_code, request.reason, caller))

    async def UnblockLink(self, request: pb.UnblockLinkRequest, context: Any) -> pb.BlockedLink:
        """See the contract."""
        caller = caller_of(context)
        return blocked_to_proto(await self._abuse.unblock(request.short_code, request.reason, caller))

    async def ListBlockedLinks(self, request: pb.ListBlockedLinksRequest, context: Any) -> pb.ListBlockedLinksResponse:
        """See the contract."""
        page, next_page_token = await self._abuse.blocked(request.page_size, request.page_token)
        return blocked_page_to_proto(page, next_page_token)
