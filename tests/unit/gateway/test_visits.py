"""Short links over HTTP: redirects byte for byte, who takes a click, warnings, previews, and what comes instead."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.pages import HTML_HEADERS
from tests.support.html import Document
from tests.support.visitors import NOW, link
from tests.support.web import BROWSER, HOUR, JSON, URL, Web, detail

PROBLEM = "application/problem+json"
SECRET = "example.org"
"""The host that every link of `Web` leads to."""
ROBOT = "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"
WITHOUT_CLICK = [
    pytest.param("HEAD", {}, 200, id="HEAD"),
    pytest.param("GET", {"user_agent": ROBOT}, 200, id="robot"),
    pytest.param("HEAD", {"user_agent": ROBOT}, 200, id="HEAD by a robot"),
    pytest.param("GET", {"sec_purpose": "prefetch;prerender"}, 503, id="prerender"),
    pytest.param("GET", {"x_moz": "prefetch", "accept": BROWSER}, 503, id="prefetch"),
]


@pytest.fixture
async def web() -> Web:
    return Web()


# Redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("accept", ["*/*", BROWSER, JSON])
async def test_redirect(web: Web, status: int, accept: str) -> None:
    response = await web.request(f"/link{status}", accept=accept)
    assert response.status_code == status
    assert dict(response.headers) == {"location": URL, "cache-control": "private, no-store", "content-length": "0"}
    assert [value for name, value in response.headers.raw if name == b"location"] == [URL.encode()]
    assert response.content == b""
    assert web.reader.asked == [f"link{status}"]
    assert web.counted(status) == 1


@pytest.mark.parametrize("query", ["?", "?a=b", "?url=https://evil.example", "?/%2F#", "?%00", "?" + "x" * 5000])
async def test_a_query_is_ignored_by_links_that_forward_none(web: Web, query: str) -> None:
    response = await web.request(f"/link302{query}")
    assert (response.status_code, response.headers["location"]) == (302, URL)


async def test_a_query_goes_on_before_the_fragment(web: Web) -> None:
    before, _, fragment = URL.partition("#")
    for query in ("x=1", "a=%2B&b=+&a=2&&c", "redir_url=https://evil.example"):
        response = await web.request(f"/forward?{query}")
        assert (response.status_code, response.headers["location"]) == (302, f"{before}&{query}#{fragment}")
    for path in ("/forward", "/forward?"):
        assert (await web.request(path)).headers["location"] == URL


@pytest.mark.parametrize("code", ["forward", "limfwd1"])
async def test_a_query_that_is_too_long_is_refused_and_uses_no_click(web: Web, code: str) -> None:
    path = f"/{code}?{'x' * 2049}"
    response = await web.request(path)
    assert response.status_code == 414
    assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_REQUEST_TOO_LARGE"
    assert detail(response, "ErrorInfo")["metadata"] == {"part": "query", "max_bytes": "2048"}
    page = await web.request(path, accept=BROWSER)
    assert (page.status_code, Document(page.text).one("h1").text) == (414, "This address is too long")
    assert SECRET not in page.text
    assert web.reader.used == []
    assert (await web.request(path[:-1])).status_code == 302


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_slash_at_the_end_changes_nothing(web: Web, status: int) -> None:
    response = await web.request(f"/link{status}/", host="evil.example")
    assert (response.status_code, response.headers["location"]) == (status, URL)
    assert web.counted(status) == 1


@pytest.mark.parametrize(("method", "headers", "_status"), WITHOUT_CLICK)
async def test_who_takes_no_click_is_redirected_by_links_without_a_number_of_them(
    web: Web, method: str, headers: dict[str, str], _status: int
) -> None:
    response = await web.request("/link302", method, **headers)
    assert (response.status_code, response.headers["location"]) == (302, URL)


# Links with a number of clicks


@pytest.mark.parametrize("accept", ["*/*", BROWSER, JSON])
async def test_each_click_redirects_until_they_are_used_up(web: Web, accept: str) -> None:
    for _ in range(2):
        response = await web.request("/limited", accept=accept)
        assert (response.status_code, response.headers["location"]) == (302, URL)
        assert response.headers["cache-control"] == "private, no-store"
    response = await web.request("/limited", accept=accept)
    assert response.status_code == 410
    assert SECRET not in response.text
    if accept == BROWSER:
        assert Document(response.text).one("h1").text == "This link is used up"
    else:
        assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_LINK_EXHAUSTED"


async def test_many_at_once_get_as_many_redirects_as_there_are_clicks(web: Web) -> None:
    web.reader.limit(link("limited", URL), 20)
    responses = await asyncio.gather(*(web.request("/limited") for _ in range(50)))
    assert Counter(response.status_code for response in responses) == {302: 20, 410: 30}
    assert (web.counted(302), web.counted(410)) == (20, 30)


@pytest.mark.parametrize("accept", ["*/*", BROWSER, JSON])
@pytest.mark.parametrize(("method", "headers", "status"), WITHOUT_CLICK)
async def test_who_takes_no_click_is_not_told_where_it_leads(
    web: Web, method: str, headers: dict[str, str], status: int, accept: str
) -> None:
    response = await web.request("/limited", method, **{"accept": accept, **headers})
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "location" not in response.headers
    assert SECRET not in response.text
    assert response.headers["cache-control"] == "no-store"
    assert response.headers.get("retry-after") == ("3600" if status == 503 else None)
    if method == "GET":
        assert Document(response.text).one("h1").text == "This link opens a limited number of times"
    assert web.reader.used == []
    assert web.counted(status) == 1


@pytest.mark.parametrize(("method", "headers", "_status"), WITHOUT_CLICK)
@pytest.mark.parametrize(("code", "status"), [("usedup1", 410), ("limwarn", 200)])
async def test_what_does_not_redirect_is_the_same_to_all(
    web: Web, method: str, headers: dict[str, str], _status: int, code: str, status: int
) -> None:
    response = await web.request(f"/{code}", method, **{"accept": BROWSER, **headers})
    person = await web.request(f"/{code}", accept=BROWSER)
    assert response.status_code == person.status_code == status
    assert response.headers == person.headers
    assert response.text == (person.text if method == "GET" else "")


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
async def test_without_the_database_no_click_is_given(web: Web, accept: str) -> None:
    assert (await web.request("/limited")).status_code == 302
    web.reader.errors["limited"] = web.reader.errors["away123"]
    for method in ("GET", "HEAD"):
        response = await web.request("/limited", method, accept=accept)
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert "location" not in response.headers
    assert web.reader.used == ["limited"]


# Warned links


@pytest.mark.parametrize("accept", ["", "*/*", BROWSER, "text/plain", "image/png"])
async def test_a_warned_link_shows_a_warning_to_all_who_do_not_ask_for_json(web: Web, accept: str) -> None:
    response = await web.request("/warned1", accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Document(response.text)
    assert page.one("h1").text == "This link may be harmful"
    assert page.links == {"Go on to example.org": URL}
    assert response.headers["vary"] == "accept"
    assert response.headers["cache-control"] == "no-store"
    assert web.counted(200) == 1


@pytest.mark.parametrize("code", ["warned1", "limwarn"])
@pytest.mark.parametrize("accept", [JSON, PROBLEM, "application/json, text/plain, */*"])
async def test_a_warned_link_is_a_refusal_to_programs(web: Web, code: str, accept: str) -> None:
    response = await web.request(f"/{code}", accept=accept)
    assert response.status_code == 403
    assert response.headers["content-type"] == (PROBLEM if accept == PROBLEM else JSON)
    assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_LINK_WARNED"
    assert SECRET not in response.text
    assert web.counted(403) == 1


async def test_a_warning_of_a_link_with_a_number_of_clicks_tells_nothing_and_uses_none(web: Web) -> None:
    response = await web.request("/limwarn", accept=BROWSER)
    assert response.status_code == 200
    assert SECRET not in response.text
    assert Document(response.text).links == {}
    assert web.reader.used == []


async def test_the_way_on_has_the_query_with_it(web: Web) -> None:
    web.reader.links["wfwd123"] = replace(
        link("wfwd123", "https://a.example/?own=1#f"), warned=True, forward_query=True
    )
    page = Document((await web.request("/wfwd123?x=<b>&y=%22")).text)
    # What a client encodes on its own is encoded here too.
    assert page.links == {"Go on to a.example": "https://a.example/?own=1&x=%3Cb%3E&y=%22#f"}
    assert not page.all("b")


# What stands in place of a redirect


PROBLEMS = [
    ("unknown", 404, 5, "ERROR_REASON_LINK_NOT_FOUND", "No such link"),
    ("expired", 410, 9, "ERROR_REASON_LINK_EXPIRED", "This link is gone"),
    ("deleted", 410, 9, "ERROR_REASON_LINK_DELETED", "This link is gone"),
    ("usedup1", 410, 9, "ERROR_REASON_LINK_EXHAUSTED", "This link is used up"),
    ("blk1234", 451, 7, "ERROR_REASON_LINK_BLOCKED", "This link is blocked"),
    ("away123", 503, 14, "ERROR_REASON_DEPENDENCY_UNAVAILABLE", "One moment, please"),
    ("busy123", 503, 8, "ERROR_REASON_OVERLOADED", "One moment, please"),
]


@pytest.mark.parametrize(("code", "status", "grpc", "reason", "title"), PROBLEMS)
async def test_program_gets_a_status(web: Web, code: str, status: int, grpc: int, reason: str, title: str) -> None:
    response = await web.request(f"/{code}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"code", "message", "details"}
    assert body["code"] == grpc
    info = detail(response, "ErrorInfo")
    assert (info["reason"], info["domain"]) == (reason, "waypost")
    assert web.counted(status) == 1
    if status < 500:
        assert info["metadata"] == {"short_code": code}


@pytest.mark.parametrize(("code", "status", "grpc", "reason", "title"), PROBLEMS)
async def test_program_gets_a_problem_if_it_asks_for_one(
    web: Web, code: str, status: int, grpc: int, reason: str, title: str
) -> None:
    response = await web.request(f"/{code}", accept=PROBLEM)
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM)
    body = response.json()
    assert (body["type"], body["status"], body["reason"], body["code"]) == ("about:blank", status, reason, grpc)
    assert body["detail"] == body["message"]


@pytest.mark.parametrize(("code", "status", "grpc", "reason", "title"), PROBLEMS)
async def test_browser_gets_a_page(web: Web, code: str, status: int, grpc: int, reason: str, title: str) -> None:
    response = await web.request(f"/{code}", accept=BROWSER)
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert Document(response.text).one("h1").text == title
    # Nothing of the request or of the error is in the page.
    assert code not in response.text
    assert "postgres" not in response.text


EVERYTHING = [
    *(problem[0] for problem in PROBLEMS),
    "defect1",
    "warned1",
    "limwarn",
    "link302+",
    "usedup1+",
    "blk1234+",
]


@pytest.mark.parametrize("accept", ["*/*", BROWSER, JSON, PROBLEM])
@pytest.mark.parametrize("code", EVERYTHING)
async def test_what_is_no_redirect_is_kept_by_nobody(web: Web, code: str, accept: str) -> None:
    with capture_logs():
        headers = (await web.request(f"/{code}", accept=accept)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-robots-tag"] == "noindex"
    assert headers["vary"] == "accept"
    assert "location" not in headers


@pytest.mark.parametrize("code", [*EVERYTHING, ""])
async def test_a_page_may_do_nothing(web: Web, code: str) -> None:
    with capture_logs():
        headers = (await web.request(f"/{code}", accept=BROWSER)).headers
    assert HTML_HEADERS.items() <= dict(headers).items()
    policy = headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "img-src 'none'"} < set(policy)
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize("accept", ["*/*", BROWSER, PROBLEM])
@pytest.mark.parametrize(("code", "seconds"), [("away123", "2"), ("busy123", "1"), ("away123+", "2")])
async def test_who_comes_in_vain_is_told_when_to_come_again(web: Web, code: str, seconds: str, accept: str) -> None:
    response = await web.request(f"/{code}", accept=accept)
    assert (response.status_code, response.headers["retry-after"]) == (503, seconds)


async def test_only_what_passes_says_when_to_come_again(web: Web) -> None:
    for code in ("unknown", "expired", "usedup1", "blk1234", "warned1", "link302+"):
        assert "retry-after" not in (await web.request(f"/{code}")).headers


@pytest.mark.parametrize("code", ["defect1", "defect1+"])
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
async def test_defect_is_told_to_the_log_only(web: Web, accept: str, code: str) -> None:
    with capture_logs() as logs:
        response = await web.request(f"/{code}", accept=accept, x_correlation_id="call-1")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "RuntimeError" not in str(response.headers) + response.text
    (line,) = logs
    assert (line["log_level"], line["short_code"], line["correlation_id"]) == ("error", code, "call-1")
    assert isinstance(line["exc_info"], RuntimeError)
    if accept != BROWSER:
        assert detail(response, "ErrorInfo")["metadata"] == {"correlation_id": "call-1"}
        assert response.json()["code"] == 13
    assert web.counted(500, "previews_total" if code.endswith("+") else "redirects_total") == 1


async def test_defect_is_found_in_the_log_without_an_id_from_outside(web: Web) -> None:
    for headers in ({}, {"x_correlation_id": "not an id"}):
        with capture_logs() as logs:
            response = await web.request("/defect1", **headers)
        told = detail(response, "ErrorInfo")["metadata"]["correlation_id"]
        assert told == logs[0]["correlation_id"] != "not an id"


# Previews


PREVIEWS = [
    ("link302", 200, "Where this link leads", "ACTIVE", True),
    ("brief12", 200, "Where this link leads", "ACTIVE", True),
    ("warned1", 200, "This link may be harmful", "WARNED", True),
    ("limited", 200, "This link opens a limited number of times", "ACTIVE", False),
    ("limwarn", 200, "This link may be harmful", "WARNED", False),
    ("usedup1", 200, "This link is used up", "EXHAUSTED", False),
    ("expired", 200, "This link has expired", "EXPIRED", False),
    ("deleted", 200, "This link is gone", "DELETED", False),
    ("blk1234", 451, "This link is blocked", "BLOCKED", False),
]


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
@pytest.mark.parametrize(("code", "status", "title", "state", "told"), PREVIEWS)
async def test_preview_page(web: Web, code: str, status: int, title: str, state: str, told: bool, accept: str) -> None:
    response = await web.request(f"/{code}+", accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8")
    page = Document(response.text)
    assert page.one("h1").text == title
    assert page.facts["Short link"] == f"https://go.example/s/{code}"
    assert (page.facts.get("Leads to") == URL) is told
    assert (SECRET in response.text) is told
    assert page.links == ({"Open this link": f"https://go.example/s/{code}"} if state == "ACTIVE" else {})
    assert web.counted(status, "previews_total") == 1
    assert web.counted(status) == 0
    assert web.reader.used == []


@pytest.mark.parametrize(("code", "status", "title", "state", "told"), PREVIEWS)
async def test_preview_for_programs(web: Web, code: str, status: int, title: str, state: str, told: bool) -> None:
    response = await web.request(f"/{code}+", accept=JSON)
    assert (response.status_code, response.headers["content-type"]) == (status, JSON)
    if status == 451:
        assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_LINK_BLOCKED"
        return
    expected = {
        "short_code": code,
        "short_url": f"https://go.example/s/{code}",
        "state": f"LINK_STATE_{state}",
        "created_at": "2026-06-01T12:00:00Z",
    }
    if told:
        expected["original_url"] = URL
    if code in ("brief12", "expired"):
        expected["expires_at"] = "2026-06-01T13:00:00Z" if code == "brief12" else "2026-06-01T11:00:00Z"
    assert response.json() == expected


@pytest.mark.parametrize(
    "path", ["/link302+", "/link302%2B", "/link302%2b", "/link302+/", "/link302+?x=1", "/link302+?"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_preview_in_every_spelling(web: Web, path: str, method: str) -> None:
    response = await web.request(path, method)
    assert response.status_code == 200
    if method == "GET":
        assert Document(response.text).one("h1").text == "Where this link leads"
    assert web.counted(200, "previews_total") == 1


@pytest.mark.parametrize("path", ["/unknown+", "/+", "/link302++", "/li+nk302+", "/a+", "/+link302+", "/ link302+"])
async def test_no_preview_of_what_is_not_there(web: Web, path: str) -> None:
    response = await web.request(path)
    assert response.status_code == 404
    assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_LINK_NOT_FOUND"
    page = await web.request(path, accept=BROWSER)
    assert (page.status_code, Document(page.text).one("h1").text) == (404, "No such link")
    assert web.counted(404, "previews_total") == 2


async def test_preview_tells_the_state_of_this_moment(web: Web) -> None:
    assert "LINK_STATE_ACTIVE" in (await web.request("/brief12+", accept=JSON)).text
    web.clock.time = NOW + HOUR
    assert "LINK_STATE_EXPIRED" in (await web.request("/brief12+", accept=JSON)).text
    web.clock.time = NOW + timedelta(days=3)
    assert Document((await web.request("/brief12+")).text).facts["Expired"].startswith("2 days ago ")


async def test_the_address_of_the_site_is_escaped() -> None:
    web = Web("https://go.example/<&'\">")
    page = Document((await web.request("/link302+")).text)
    assert page.links == {"Open this link": "https://go.example/<&'\">/link302"}
