"""The use cases around abuse: what they refuse, what they do together, and what outlives its caller."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from gateway.abuse.addresses import ShortAddresses
from gateway.abuse.decisions import Decisions
from gateway.abuse.handlers import AbuseHandlers
from gateway.abuse.requests import ListReports, ReportLink
from gateway.cache import CacheMetrics, RedirectCache
from tests.support.abuse import MemoryAbuse, operator, report
from tests.support.links import new_link
from tests.support.memory_storage import NOW, stored
from tests.support.visitors import Feed, MemoryRedirectReader
from tests.support.visitors import link as redirect
from tests.support.waiting import until
from waypost.abuse import Place, ReportCategory, ReportQuery
from waypost.audit import Action
from waypost.errors import (
    DependencyUnavailable,
    FieldViolation,
    InvalidFields,
    LinkNotFound,
    ResourceNotFound,
)
from waypost.model import DEFAULT_WORKSPACE, EventType


class Desk(AbuseHandlers):
    """The use cases over a store in memory, beside a cache that has the link."""

    def __init__(self) -> None:
        self.store = MemoryAbuse(stored(new_link()))
        self.reader = MemoryRedirectReader(redirect("abc1234"))
        self.cache = RedirectCache(self.reader, Feed(), CacheMetrics(CollectorRegistry()))
        addresses = ShortAddresses("https://go.example")
        super().__init__(self.store, self.store, Decisions(self.store, self.cache), addresses)

    async def asks_again(self) -> bool:
        """Whether the cache has been told that what it had is no longer right."""
        before = len(self.reader.asked)
        await self.cache.lookup("abc1234")
        return len(self.reader.asked) > before


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    await desk.cache.lookup("abc1234")
    assert not await desk.asks_again()
    return desk


def fields(error: InvalidFields) -> list[str]:
    return [violation.field for violation in error.violations]


async def test_a_report_is_stored_with_the_address_it_came_from(desk: Desk) -> None:
    report_id = await desk.report(report("https://go.example/abc1234+", " c ", " d "), "192.0.2.0")
    (found,) = desk.store.reports.values()
    assert (found.report_id, found.short_code, found.category) == (report_id, "abc1234", ReportCategory.PHISHING)
    assert (found.comment, found.contact, found.address) == ("c", "d", "192.0.2.0")


async def test_all_that_is_wrong_with_a_report_is_said_at_once(desk: Desk) -> None:
    wrong = ReportLink(
        "https://elsewhere.example/abc1234",
        ReportCategory.OTHER,
        "x" * 2001,
        "a\nb",
        (FieldViolation("category", "is none"),),
    )
    with pytest.raises(InvalidFields) as caught:
        await desk.report(wrong, "192.0.2.0")
    assert fields(caught.value) == ["category", "link", "comment", "contact"]
    with pytest.raises(LinkNotFound):
        await desk.report(report("nothing1"), "192.0.2.0")
    assert desk.store.reports == {}


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
async def test_sizes_of_pages(desk: Desk, asked: int, size: int) -> None:
    await desk.reports(ListReports(asked, "", True, "abc1234"))
    await desk.blocked(asked, "")
    assert desk.store.queries == [ReportQuery(size, True, "abc1234", None)]
    assert desk.store.blocked_queries == [(size, None)]


async def test_a_token_leads_to_the_next_page_of_the_same_list(desk: Desk) -> None:
    desk.store.next = Place(NOW, str(UUID(int=9)))
    _, token = await desk.reports(ListReports(5, "", False, ""))
    await desk.reports(ListReports(7, token, False, ""))
    assert desk.store.queries[-1] == ReportQuery(7, after=desk.store.next)
    desk.store.next = Place(NOW, "42")
    _, other = await desk.blocked(5, "")
    desk.store.next = None
    assert (await desk.blocked(5, other))[1] == ""
    assert desk.store.blocked_queries[-1] == (5, Place(NOW, "42"))
    for wrong in (
        ListReports(5, token, True, ""),
        ListReports(5, token, False, "abc1234"),
        ListReports(5, other, False, ""),
    ):
        with pytest.raises(InvalidFields, match="page_token"):
            await desk.reports(wrong)
    with pytest.raises(InvalidFields, match="page_token"):
        await desk.blocked(5, token)
    with pytest.raises(InvalidFields) as caught:
        await desk.reports(ListReports(-1, "nonsense", False, ""))
    assert fields(caught.value) == ["page_size", "page_token"]


async def test_reports_of_what_is_no_code_are_none_without_asking(desk: Desk) -> None:
    page, token = await desk.reports(ListReports(0, "", False, "no code at all"))
    assert (page.reports, token, desk.store.queries) == ((), "", [])


async def test_a_block_is_told_to_everybody_concerned(desk: Desk) -> None:
    for _ in range(2):
        await desk.report(report(), "192.0.2.0")
    blocked = await desk.block("abc1234", " why ", operator())
    assert (blocked.reason, blocked.blocked_at, blocked.workspace_id) == ("why", NOW, DEFAULT_WORKSPACE)
    (event,) = desk.store.events
    assert (event.type, event.link.blocked, event.link.version) == (EventType.LINK_UPDATED, True, 2)
    assert event.correlation_id == "call-1"
    (entry,) = desk.store.entries
    assert (entry.action, entry.object, entry.workspace_id) == (Action.LINK_BLOCK, "abc1234", DEFAULT_WORKSPACE)
    assert (entry.principal, entry.address, entry.correlation_id) == ("key:operator12345678", "192.0.2.1", "call-1")
    assert entry.details == {"reason": "why", "reports_closed": "2"}
    assert len(desk.store.closed) == 2
    assert await desk.asks_again()


async def test_what_changes_nothing_is_not_committed(desk: Desk) -> None:
    await desk.block("abc1234", "why", operator())
    report_id = await desk.report(report(), "192.0.2.0")
    await desk.close(str(report_id), operator())
    commits, told = desk.store.commits, len(desk.store.entries)
    await desk.block("abc1234", "why", operator())
    await desk.close(str(report_id), operator())
    await desk.unblock("abc1234", "why", operator())
    await desk.unblock("abc1234", "why", operator())
    assert (desk.store.commits, len(desk.store.entries)) == (commits + 1, told + 1)


async def test_reports_that_came_after_the_block_are_closed_by_the_next(desk: Desk) -> None:
    await desk.block("abc1234", "why", operator())
    await desk.cache.lookup("abc1234")
    await desk.report(report(), "192.0.2.0")
    await desk.block("abc1234", "why", operator())
    assert len(desk.store.closed) == 1
    assert desk.store.entries[-1].details == {"reason": "why", "reports_closed": "1"}
    # The link is as it was: there is nothing to tell of it.
    assert len(desk.store.events) == 1
    assert not await desk.asks_again()


async def test_a_commit_that_fails_is_told_to_no_cache(desk: Desk) -> None:
    desk.store.error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await desk.block("abc1234", "why", operator())
    assert not await desk.asks_again()
    desk.store.error = None
    await desk.block("abc1234", "why", operator())
    assert await desk.asks_again()


@pytest.mark.parametrize(
    ("short_code", "reason", "wrong"),
    [("", "", ["short_code", "reason"]), ("", "why", ["short_code"]), ("abc1234", "\u202e", ["reason"])],
)
async def test_fields_of_decisions(desk: Desk, short_code: str, reason: str, wrong: Sequence[str]) -> None:
    for decide in (desk.block, desk.unblock):
        with pytest.raises(InvalidFields) as caught:
            await decide(short_code, reason, operator())
        assert fields(caught.value) == wrong
    with pytest.raises(InvalidFields, match="report_id"):
        await desk.close("", operator())
    for unknown in ("ABC1234", "a/b", "nothing1"):
        with pytest.raises(LinkNotFound):
            await desk.block(unknown, "why", operator())
    for unknown in ("nonsense", str(uuid4())):
        with pytest.raises(ResourceNotFound):
            await desk.close(unknown, operator())
    assert desk.store.commits == 0


async def test_a_decision_is_carried_out_though_its_caller_goes_away(desk: Desk) -> None:
    desk.store.may_commit.clear()
    call = asyncio.create_task(desk.block("abc1234", "why", operator()))
    await desk.store.committing.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()
    assert desk.store.commits == 0
    desk.store.may_commit.set()
    await until(desk.asks_again)
    assert desk.store.commits == 1
