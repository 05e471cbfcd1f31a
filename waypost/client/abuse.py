"""Abuse: reports of links, and links that operators take out of service; one method for each of AbuseService's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from waypost.api.v1 import abuse_service_pb2 as pb
from waypost.api.v1.abuse_service_pb2_grpc import AbuseServiceStub
from waypost.client.abuse_convert import blocked_from_proto, category_to_proto, report_from_proto
from waypost.client.abuse_model import BlockedLink, Report, ReportCategory
from waypost.client.connection import Connection
from waypost.client.convert import fill
from waypost.client.service import Listed, Service, each

if TYPE_CHECKING:
    from waypost.api.v1.abuse_service_pb2_grpc import AbuseServiceAsyncStub


class Abuse(Service["AbuseServiceAsyncStub"]):
    """Links of all workspaces, as far as they harm: anybody reports them, operators do the rest."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, AbuseServiceStub)

    async def report(
        self,
        link: str,
        *,
        category: ReportCategory | str = ReportCategory.OTHER,
        comment: str = "",
        contact: str = "",
        timeout: float | None = None,
    ) -> str:
        """Reports a link, by its short code or its whole short address, and returns the report's id.

        Raises `LinkNotFound`, `InvalidFields`, `RateLimited`.
        """
        request = pb.ReportLinkRequest()
        number = category_to_proto(category)
        fill(request, {"link": link, "category": number, "comment": comment, "contact": contact})
        answer = await self._call(lambda stub: stub.ReportLink, request, timeout)
        return answer.report_id

    async def reports(
        self, *, closed: bool = False, short_code: str = "", page_size: int = 0, timeout: float | None = None
    ) -> AsyncIterator[Report]:
        """All open reports, or all closed ones, the oldest first; a page of `page_size` (at most 200) at a time."""
        async for one in each(
            lambda token: self.reports_page(
                closed=closed, short_code=short_code, page_size=page_size, page_token=token, timeout=timeout
            ),
        ):
            yield one

    async def reports_page(
        self,
        *,
        closed: bool = False,
        short_code: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Listed[Report]:
        """One page of them: the first, or with `page_token` the one that follows."""
        request = pb.ListReportsRequest()
        fill(
            request,
            {"closed": closed, "link": short_code, "page_size": page_size, "page_token": page_token},
        )
        answer = await self._call(lambda stub: stub.ListReports, request, timeout)
        return Listed(tuple(map(report_from_proto, answer.reports)), answer.next_page_token)

    async def close(self, report_id: str, *, timeout: float | None = None) -> Report:
        """Closes a report without blocking its link. Raises `ResourceNotFound`."""
        request = pb.CloseReportRequest()
        fill(request, {"report_id": report_id})
        return report_from_proto(await self._call(lambda stub: stub.CloseReport, request, timeout))

    async def block(self, short_code: str, reason: str, *, timeout: float | None = None) -> BlockedLink:
        """Blocks a link, whosever it is, and closes its open reports; blocking it again changes the reason.

        Raises `LinkNotFound`, `InvalidFields`.
        """
        request = pb.BlockLinkRequest()
        fill(request, {"short_code": short_code, "reason": reason})
        return blocked_from_proto(await self._call(lambda stub: stub.BlockLink, request, timeout))

    async def unblock(self, short_code: str, reason: str, *, timeout: float | None = None) -> BlockedLink:
        """Puts a blocked link back into service. Raises `LinkNotFound`, `InvalidFields`."""
        request = pb.UnblockLinkRequest()
        fill(request, {"short_code": short_code, "reason": reason})
        return blocked_from_proto(await self._call(lambda stub: stub.UnblockLink, request, timeout))

    async def blocked(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncIterator[BlockedLink]:
        """All links that are blocked, the latest first; a page of `page_size` (at most 200) at a time."""
        async for one in each(
            lambda token: self.blocked_page(page_size=page_size, page_token=token, timeout=timeout),
        ):
            yield one

    async def blocked_page(
        self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> Listed[BlockedLink]:
        """One page of them: the first, or with `page_token` the one that follows."""
        request = pb.ListBlockedLinksRequest()
        fill(request, {"page_size": page_size, "page_token": page_token})
        answer = await self._call(lambda stub: stub.ListBlockedLinks, request, timeout)
        return Listed(tuple(map(blocked_from_proto, answer.links)), answer.next_page_token)
