"""Reports and blocked links as the client has them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.account_server import HERE, NOW, AccountServer
from waypost import Client, errors
from waypost.api.v1 import abuse_service_pb2 as pb
from waypost.client import BlockedLink, Report, ReportCategory
from waypost.client.abuse_convert import report_from_proto


async def test_reports(member: Client, accounts: AccountServer) -> None:
    report_id = await member.abuse.report(
        "https://go.example/bad", category="phishing", comment="<b>a bank</b>", contact="me@example.com"
    )
    (report,) = [one async for one in member.abuse.reports()]
    assert report == Report(
        report_id=report_id,
        short_code="bad",
        category=ReportCategory.PHISHING,
        comment="<b>a bank</b>",
        contact="me@example.com",
        created_at=NOW + timedelta(seconds=1),
        closed_at=None,
        original_url="https://example.com/",
        blocked=False,
        workspace_id=HERE,
    )
    other = await member.abuse.report("other")
    assert [one.report_id async for one in member.abuse.reports(page_size=1)] == [report_id, other]
    assert [one.report_id async for one in member.abuse.reports(short_code="other")] == [other]
    closed = await member.abuse.close(report_id)
    assert closed.closed_at is not None
    assert await member.abuse.close(report_id) == closed
    assert [one.report_id async for one in member.abuse.reports(closed=True)] == [report_id]
    with pytest.raises(errors.ResourceNotFound) as raised:
        await member.abuse.close("none")
    assert raised.value.type == "report"
    with pytest.raises(errors.LinkNotFound):
        await member.abuse.report("nobody")


async def test_blocked_links(member: Client, accounts: AccountServer) -> None:
    report_id = await member.abuse.report("bad", category=ReportCategory.MALWARE)
    blocked = await member.abuse.block("bad", "imitates a bank")
    assert blocked == BlockedLink("bad", "https://example.com/", HERE, NOW + timedelta(seconds=2), "imitates a bank")
    await member.abuse.block("worse", "a virus")
    assert [link.short_code async for link in member.abuse.blocked(page_size=1)] == ["worse", "bad"]
    assert [one.report_id async for one in member.abuse.reports(closed=True)] == [report_id]
    assert (await member.abuse.unblock("bad", "a mistake")).blocked_at is None
    with pytest.raises(errors.LinkNotFound):
        await member.abuse.block("nobody", "x")
    with pytest.raises(errors.InvalidFields) as raised:
        await member.abuse.unblock("bad", "")
    assert raised.value.violations[0].field == "reason"


async def test_a_category_that_is_none_is_refused_before_it_is_sent(member: Client, accounts: AccountServer) -> None:
    with pytest.raises(errors.InvalidFields) as raised:
        await member.abuse.report("bad", category="dull")
    assert raised.value.violations[0].field == "category"
    assert accounts.calls == []


@pytest.mark.parametrize("number", [0, 99])
def test_a_category_without_a_name_is_another(number: int) -> None:
    report = pb.Report.FromString(pb.Report(category=number).SerializeToString())  # type: ignore[arg-type]
    assert report_from_proto(report).category is ReportCategory.OTHER
