"""What a short link answers, to the instant and to the byte, and what its preview tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.intake import Intake, location
from gateway.redirects import (
    MAX_QUERY_BYTES,
    NOT_FOUND,
    Answer,
    Preview,
    answer,
    check_query,
    preview,
    with_query,
    without_destination,
)
from waypost.errors import InvalidFields, RequestTooLarge
from waypost.model import LinkState, Redirect

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
URL = "https://example.org/a?b=c#d"
LINK = Redirect("abc1234", URL, 302, 1, blocked=False, deleted=False, expires_at=None, created_at=NOW)


def test_no_link_is_not_found() -> None:
    assert answer(None, NOW) == NOT_FOUND == Answer(404)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_active_link_redirects_with_its_status(status: int) -> None:
    link = replace(LINK, redirect_status=status)
    assert answer(link, NOW) == Answer(status, URL, LinkState.ACTIVE)


@pytest.mark.parametrize("warned", [False, True])
@pytest.mark.parametrize(
    ("left", "lives"),
    [(timedelta(days=1), True), (INSTANT, True), (timedelta(0), False), (-INSTANT, False), (-timedelta(days=1), False)],
)
def test_link_expires_when_its_instant_begins(left: timedelta, lives: bool, warned: bool) -> None:
    found = answer(replace(LINK, expires_at=NOW + left, warned=warned), NOW)
    if lives:
        assert found == (
            Answer(200, state=LinkState.WARNED, valid_for=left, doubtful=URL)
            if warned
            else Answer(302, URL, LinkState.ACTIVE, left)
        )
    else:
        assert found == Answer(410, state=LinkState.EXPIRED)


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("exhausted", [False, True])
@pytest.mark.parametrize("warned", [False, True])
def test_the_graver_state_comes_first(
    deleted: bool, blocked: bool, expired: bool, exhausted: bool, warned: bool
) -> None:
    link = replace(
        LINK,
        deleted=deleted,
        blocked=blocked,
        expires_at=NOW - INSTANT if expired else NOW + INSTANT,
        limited=exhausted,
        exhausted=exhausted,
        warned=warned,
    )
    found = answer(link, NOW)
    if deleted:
        assert found == Answer(410, state=LinkState.DELETED)
    elif blocked:
        assert found == Answer(451, state=LinkState.BLOCKED)
    elif expired:
        assert found == Answer(410, state=LinkState.EXPIRED)
    elif exhausted:
        assert found == Answer(410, state=LinkState.EXHAUSTED)
    elif warned:
        assert found == Answer(200, state=LinkState.WARNED, valid_for=INSTANT, doubtful=URL)
    else:
        assert found == Answer(302, URL, LinkState.ACTIVE, INSTANT)


def test_location_is_a_header_value() -> None:
    link = replace(LINK, url="https://example.org/straße?q=日本&p=%41")
    assert answer(link, NOW).location == "https://example.org/stra%C3%9Fe?q=%E6%97%A5%E6%9C%AC&p=%41"


def test_a_warned_link_with_a_number_of_clicks_does_not_say_where_it_leads() -> None:
    found = answer(replace(LINK, warned=True, limited=True, forward_query=True), NOW, b"x=1")
    assert found == Answer(200, state=LinkState.WARNED)


def test_without_destination_nothing_else_is_lost() -> None:
    full = Answer(302, URL, LinkState.ACTIVE, INSTANT, URL)
    assert without_destination(full) == Answer(302, "", LinkState.ACTIVE, INSTANT, "")


# Queries that go on


@pytest.mark.parametrize("query", [b"", b"x", b"redir_url=https://evil.example", b"x" * (MAX_QUERY_BYTES + 1)])
def test_a_link_forwards_no_query_unless_it_says_so(query: bytes) -> None:
    assert answer(LINK, NOW, query).location == URL
    check_query(LINK, query)


@pytest.mark.parametrize(
    ("target", "query", "joined"),
    [
        ("https://a.example/", b"x=1", "https://a.example/?x=1"),
        ("https://a.example", b"x=1", "https://a.example?x=1"),
        ("https://a.example/?own=1", b"x=1", "https://a.example/?own=1&x=1"),
        ("https://a.example/?own=1&", b"x=1", "https://a.example/?own=1&x=1"),
        ("https://a.example/?", b"x=1", "https://a.example/?x=1"),
        ("https://a.example/#f?g", b"x=1", "https://a.example/?x=1#f?g"),
        ("https://a.example/?own=1#f", b"x=1", "https://a.example/?own=1&x=1#f"),
        ("https://a.example/#", b"x=1", "https://a.example/?x=1#"),
        ("https://a.example/", b"a=%2B&b=+&a=2&&c", "https://a.example/?a=%2B&b=+&a=2&&c"),
        ("https://a.example/", b"?a?b", "https://a.example/??a?b"),
        ("https://a.example/", b"%zz%", "https://a.example/?%zz%"),
        ("https://a.example/", "q=é".encode(), "https://a.example/?q=%C3%A9"),
        ("https://a.example/", b"q=\xff\x00\r\n ", "https://a.example/?q=%FF%00%0D%0A%20"),
    ],
)
def test_queries_are_joined_before_the_fragment(target: str, query: bytes, joined: str) -> None:
    assert with_query(target, query) == joined
    assert answer(replace(LINK, url=target, forward_query=True), NOW, query).location == joined
    warned = replace(LINK, url=target, forward_query=True, warned=True)
    assert answer(warned, NOW, query).doubtful == joined


def test_an_empty_query_changes_nothing() -> None:
    assert answer(replace(LINK, forward_query=True), NOW, b"").location == URL


@pytest.mark.parametrize("state", [{}, {"warned": True}])
def test_a_query_has_a_bound_where_it_goes_on(state: dict[str, Any]) -> None:
    link = replace(LINK, forward_query=True, **state)
    longest = b"x" * MAX_QUERY_BYTES
    check_query(link, longest)
    told = answer(link, NOW, longest)
    assert (told.location or told.doubtful) == f"https://example.org/a?b=c&{longest.decode()}#d"
    for fails in (check_query, lambda link, query: answer(link, NOW, query)):
        with pytest.raises(RequestTooLarge) as caught:
            fails(link, longest + b"x")
        assert (caught.value.size, caught.value.limit, caught.value.part) == (2049, 2048, "query")


@pytest.mark.parametrize("state", [{"deleted": True}, {"blocked": True}, {"exhausted": True}])
def test_a_link_that_leads_nowhere_minds_no_query(state: dict[str, Any]) -> None:
    link = replace(LINK, forward_query=True, **state)
    assert answer(link, NOW, b"x" * 5000).status in (410, 451)


targets = st.builds(
    "https://a.example{}{}{}".format,
    st.sampled_from(["", "/", "/p%41th", "/é/日本", "//x/../"]),
    st.sampled_from(["", "?", "?own", "?a=b&", "?a=%2B&a=ß", "??"]),
    st.sampled_from(["", "#", "#f", "#/?x#y", "#ü"]),
)


@given(targets, st.binary(min_size=1, max_size=300))
@example("https://a.example/#é", "a=é&a=%C3%A9&b=+ \x7f".encode())
def test_a_joined_query_keeps_every_byte(url: str, query: bytes) -> None:
    target = location(url)
    joined = with_query(target, query)
    assert joined.isascii()
    assert joined.isprintable()
    assert " " not in joined
    before, _, fragment = target.partition("#")
    kept, _, new_fragment = joined.partition("#") if b"#" not in query else (joined, "", "")
    assert joined.startswith(before)
    assert joined.endswith(f"#{fragment}" if "#" in target else "")
    # What the destination is sent for the query, percent-decoded, is what came, percent-decoded.
    added = joined[len(before) : len(joined) - len(target) + len(before)]
    assert added[:1] in ("?", "&") or before.endswith(("?", "&"))
    bare = added if before.endswith(("?", "&")) else added[1:]
    assert unquote_to_bytes(bare) == unquote_to_bytes(query)
    # Printable ASCII is the same bytes.
    if all(0x21 <= byte < 0x7F for byte in query):
        assert bare.encode() == query
    if b"#" not in query:
        assert (kept, new_fragment) == (before + added, fragment)
        assert urlsplit(joined).netloc == urlsplit(target).netloc


@given(st.text(max_size=40), st.binary(min_size=1, max_size=100))
def test_no_query_leads_to_another_host(path: str, query: bytes) -> None:
    try:
        stored = Intake(["go.example"]).destination(f"https://a.example/{path}").url
    except InvalidFields:
        assume(False)
    assert with_query(location(stored), query).startswith("https://a.example/")


# Previews


@pytest.mark.parametrize(
    ("changes", "state", "url"),
    [
        ({}, LinkState.ACTIVE, URL),
        ({"warned": True}, LinkState.WARNED, URL),
        ({"limited": True}, LinkState.ACTIVE, ""),
        ({"limited": True, "warned": True}, LinkState.WARNED, ""),
        ({"limited": True, "exhausted": True}, LinkState.EXHAUSTED, ""),
        ({"expires_at": NOW}, LinkState.EXPIRED, ""),
        ({"blocked": True}, LinkState.BLOCKED, ""),
        ({"deleted": True}, LinkState.DELETED, ""),
    ],
)
def test_a_preview_tells_the_destination_only_of_what_leads_there(
    changes: dict[str, Any], state: LinkState, url: str
) -> None:
    link = replace(LINK, **changes)
    told = Preview("abc1234", state, url, link.limited, NOW, link.expires_at, NOW + INSTANT)
    assert preview(link, NOW + INSTANT) == told
