"""AbuseService through the chain: messages in and out, errors as statuses, and whose call it is."""

from __future__ import annotations

from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry

from gateway.abuse.addresses import ShortAddresses
from gateway.abuse.decisions import Decisions
from gateway.abuse.handlers import AbuseHandlers
from gateway.abuse.service import AbuseService
from gateway.cache import CacheMetrics, RedirectCache
from tests.support.abuse import OPERATORS, MemoryAbuse
from tests.support.identities import Known, as_operator
from tests.support.links import new_link
from tests.support.memory_storage import NOW, stored
from tests.support.visitors import Feed, MemoryRedirectReader
from waypost.access.identity import ANONYMOUS, Identity
from waypost.api.v1 import abuse_service_pb2 as pb
from waypost.rpc import chain
from waypost.rpc.context import CallContext
from waypost.rpc.methods import endpoint, method_table
from waypost.rpc.status import RpcError

T = TypeVar("T", bound=Message)
STRANGER = Identity(ANONYMOUS, address="203.0.113.5")


class Desk:
    """The service in a chain, over a store in memory."""

    def __init__(self) -> None:
        self.store = MemoryAbuse(stored(new_link()))
        cache = RedirectCache(MemoryRedirectReader(), Feed(), CacheMetrics(CollectorRegistry()))
        handlers = AbuseHandlers(
            self.store, self.store, Decisions(self.store, cache), ShortAddresses("https://go.example")
        )
        self.known = Known(as_operator(OPERATORS))
        self._call = chain.build([chain.Errors(), self.known], endpoint(method_table([AbuseService(handlers)])))

    async def call(self, method: str, request: Message, answer: type[T]) -> T:
        context = CallContext(f"/waypost.api.v1.AbuseService/{method}", (), "test", None)
        return answer.FromString(await self._call(context, request.SerializeToString()))

    async def code(self, method: str, request: Message) -> grpc.StatusCode:
        with pytest.raises(RpcError) as raised:
            await self.call(method, request, pb.Report)
        return raised.value.status.code


async def test_from_a_report_to_the_block_and_back() -> None:
    desk = Desk()
    operators, desk.known.identity = desk.known.identity, STRANGER
    request = pb.ReportLinkRequest(
        link="https://go.example/abc1234", category=pb.REPORT_CATEGORY_MALWARE, comment="a\x00b", contact="me"
    )
    report_id = (await desk.call("ReportLink", request, pb.ReportLinkResponse)).report_id
    desk.known.identity = operators
    assert [found.address for found in desk.store.reports.values()] == ["203.0.113.5"]

    listed = await desk.call("ListReports", pb.ListReportsRequest(), pb.ListReportsResponse)
    (found,) = listed.reports
    assert (found.report_id, found.short_code, found.category) == (report_id, "abc1234", pb.REPORT_CATEGORY_MALWARE)
    assert (found.comment, found.contact, found.original_url) == ("a\ufffdb", "me", "https://example.org/")
    assert (found.blocked, found.HasField("closed_at"), listed.next_page_token) == (False, False, "")

    blocked = await desk.call("BlockLink", pb.BlockLinkRequest(short_code="abc1234", reason="bad"), pb.BlockedLink)
    assert (blocked.short_code, blocked.reason, blocked.HasField("blocked_at")) == ("abc1234", "bad", True)
    pages = await desk.call("ListBlockedLinks", pb.ListBlockedLinksRequest(), pb.ListBlockedLinksResponse)
    assert list(pages.links) == [blocked]
    closed = await desk.call("ListReports", pb.ListReportsRequest(closed=True), pb.ListReportsResponse)
    assert [(found.report_id, found.blocked) for found in closed.reports] == [(report_id, True)]
    same = await desk.call("CloseReport", pb.CloseReportRequest(report_id=report_id), pb.Report)
    assert same.closed_at.ToDatetime(NOW.tzinfo) == NOW

    back = await desk.call("UnblockLink", pb.UnblockLinkRequest(short_code="abc1234", reason="good"), pb.BlockedLink)
    assert (back.HasField("blocked_at"), back.reason) == (False, "")
    assert [(entry.principal, entry.action) for entry in desk.store.entries] == [
        ("user:ada", "link.block"),
        ("user:ada", "link.unblock"),
    ]


async def test_errors_have_the_codes_of_the_contract() -> None:
    desk = Desk()
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    assert await desk.code("ReportLink", pb.ReportLinkRequest()) is invalid
    assert await desk.code("ReportLink", pb.ReportLinkRequest(link="https://evil.example/abc1234")) is invalid
    assert await desk.code("ReportLink", pb.ReportLinkRequest(link="nothing1")) is missing
    assert await desk.code("ListReports", pb.ListReportsRequest(page_token="x")) is invalid
    assert await desk.code("ListBlockedLinks", pb.ListBlockedLinksRequest(page_size=-1)) is invalid
    assert await desk.code("CloseReport", pb.CloseReportRequest(report_id="x")) is missing
    assert await desk.code("BlockLink", pb.BlockLinkRequest(short_code="abc1234")) is invalid
    assert await desk.code("BlockLink", pb.BlockLinkRequest(short_code="nothing1", reason="x")) is missing
    assert await desk.code("UnblockLink", pb.UnblockLinkRequest(short_code="nothing1", reason="x")) is missing


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("CloseReport", pb.CloseReportRequest(report_id="x")),
        ("BlockLink", pb.BlockLinkRequest(short_code="abc1234", reason="x")),
        ("UnblockLink", pb.UnblockLinkRequest(short_code="abc1234", reason="x")),
    ],
)
async def test_what_changes_something_is_not_done_for_a_caller_without_a_workspace(
    method: str, request_: Message
) -> None:
    """The chain lets none through; if it did, this would still be nobody's decision."""
    desk = Desk()
    desk.known.identity = STRANGER
    assert await desk.code(method, request_) is grpc.StatusCode.PERMISSION_DENIED
    assert desk.store.commits == 0
