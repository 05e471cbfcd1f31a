"""AbuseService's messages and values are each other's images."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from gateway.abuse.convert import CATEGORIES, blocked_to_proto, report_from_proto, report_to_proto
from waypost.abuse import BlockedLink, Report, ReportCategory
from waypost.api.v1 import abuse_service_pb2 as pb

AT = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
REPORT = Report(
    UUID(int=7), "abc1234", ReportCategory.SPAM, "a\nb", "me", AT, None, "https://x.example/", False, UUID(int=1)
)


def test_every_category_has_its_number() -> None:
    assert set(CATEGORIES) == set(ReportCategory)
    assert {*CATEGORIES.values(), pb.REPORT_CATEGORY_UNSPECIFIED} == set(pb.ReportCategory.values())
    for category, number in CATEGORIES.items():
        assert report_from_proto(pb.ReportLinkRequest(category=number)).category is category
        assert pb.ReportCategory.Name(number) == f"REPORT_CATEGORY_{category.name}"


def test_no_category_is_other() -> None:
    report = report_from_proto(pb.ReportLinkRequest(link="abc1234", comment="c", contact="d"))
    assert (report.link, report.category, report.comment, report.contact) == (
        "abc1234",
        ReportCategory.OTHER,
        "c",
        "d",
    )
    assert report.malformed == ()


@pytest.mark.parametrize("number", [-1, 6, 2**31 - 1])
def test_an_unknown_category_is_said_to_be_none(number: int) -> None:
    (violation,) = report_from_proto(pb.ReportLinkRequest(category=number)).malformed  # type: ignore[arg-type]
    assert violation.field == "category"
    assert violation.description.startswith(f"{number} is no category: give one of REPORT_CATEGORY_PHISHING, ")
    assert "UNSPECIFIED" not in violation.description


def test_a_report() -> None:
    message = report_to_proto(REPORT)
    assert message.report_id == "00000000-0000-0000-0000-000000000007"
    assert (message.short_code, message.category) == ("abc1234", pb.REPORT_CATEGORY_SPAM)
    assert (message.comment, message.contact, message.original_url) == ("a\nb", "me", "https://x.example/")
    assert message.created_at.ToDatetime(UTC) == AT
    assert not message.HasField("closed_at")
    assert (message.blocked, message.workspace_id) == (False, "00000000-0000-0000-0000-000000000001")


def test_a_blocked_link() -> None:
    link = BlockedLink("abc1234", "https://x.example/", UUID(int=1), AT, "why")
    message = blocked_to_proto(link)
    assert (message.short_code, message.original_url, message.reason) == ("abc1234", "https://x.example/", "why")
    assert message.blocked_at.ToDatetime(UTC) == AT
    assert not blocked_to_proto(BlockedLink("a", "b", UUID(int=1), None, "")).HasField("blocked_at")
