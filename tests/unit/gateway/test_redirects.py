"""What a short link answers, to the instant."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.redirects import NOT_FOUND, Answer, answer
from waypost.model import LinkState, Redirect

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
LINK = Redirect("abc1234", "https://example.org/a?b=c#d", 302, 1, blocked=False, deleted=False, expires_at=None)


def test_no_link_is_not_found() -> None:
    assert answer(None, NOW) == NOT_FOUND == Answer(404)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_active_link_redirects_with_its_status(status: int) -> None:
    link = replace(LINK, redirect_status=status)
    assert answer(link, NOW) == Answer(status, "https://example.org/a?b=c#d", LinkState.ACTIVE)


@pytest.mark.parametrize(
    ("left", "status"),
    [(timedelta(days=1), 302), (INSTANT, 302), (timedelta(0), 410), (-INSTANT, 410), (-timedelta(days=1), 410)],
)
def test_link_expires_when_its_instant_begins(left: timedelta, status: int) -> None:
    found = answer(replace(LINK, expires_at=NOW + left), NOW)
    assert found.status == status
    assert found.state is (LinkState.ACTIVE if status == 302 else LinkState.EXPIRED)
    assert found.valid_for == (left if status == 302 else None)
    assert bool(found.location) == (status == 302)


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("expired", [False, True])
def test_deleted_comes_before_blocked_before_expired(deleted: bool, blocked: bool, expired: bool) -> None:
    link = replace(LINK, deleted=deleted, blocked=blocked, expires_at=NOW - INSTANT if expired else NOW + INSTANT)
    found = answer(link, NOW)
    if deleted:
        assert found == Answer(410, state=LinkState.DELETED)
    elif blocked:
        assert found == Answer(451, state=LinkState.BLOCKED)
    elif expired:
        assert found == Answer(410, state=LinkState.EXPIRED)
    else:
        assert found.status == 302


def test_location_is_a_header_value() -> None:
    link = replace(LINK, url="https://example.org/straße?q=日本&p=%41")
    assert answer(link, NOW).location == "https://example.org/stra%C3%9Fe?q=%E6%97%A5%E6%9C%AC&p=%41"
