"""Filters put together from values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.filters import parse_filter
from waypost import Client
from waypost.client import NewLink, link_filter
from waypost.model import LinkState


def test_nothing_asked_for() -> None:
    assert link_filter() == ""


def test_everything_asked_for() -> None:
    text = link_filter(
        state="expired",
        tags=["a", "spring sale"],
        text="annual report",
        created_from=datetime(2031, 1, 1, tzinfo=UTC),
        created_before=datetime(2032, 1, 1, tzinfo=UTC),
    )
    assert text == (
        'state = "expired" AND tag = "a" AND tag = "spring sale" AND text : "annual report"'
        ' AND created_at >= "2031-01-01T00:00:00+00:00" AND created_at < "2032-01-01T00:00:00+00:00"'
    )


@pytest.mark.parametrize(
    "tag", ["plain", "two words", 'a "b" c', "back\\slash", '\\"', "a = b AND state = deleted", "AND", "é"]
)
def test_the_server_reads_what_was_meant(tag: str) -> None:
    found = parse_filter(link_filter(state="active", tags=[tag], text="word"))
    assert (found.state, found.tags) == (LinkState.ACTIVE, (tag,))


def test_times_need_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        link_filter(created_from=datetime(2031, 1, 1))  # noqa: DTZ001 - the mistake


async def test_a_filter_finds_its_links(client: Client) -> None:
    tag = 'a "b" \\ c'
    await client.batch_create(
        [NewLink(url="https://example.com/", alias="this", tags=[tag]), NewLink(url="https://x/")]
    )
    assert [link.short_code async for link in client.list(filter=link_filter(tags=[tag]))] == ["this"]
