"""What visitors see before a link leads them on, through the edge: previews, warnings, and queries that go on."""

from __future__ import annotations

from datetime import datetime

import grpc
import httpx
import pytest

from tests.e2e.api import BROWSER, Api, info, status_of_json
from tests.support.html import Document
from tests.support.mesh import Mesh
from tests.support.postgres import run
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import link_service_pb2_grpc as pb_grpc

JSON = {"accept": "application/json"}
NASTY = "https://a.example/<img%20src=x%20onerror=alert(1)>\"'><script>alert(1)</script>?&amp;&lt;#$title"


def set_state(api: Api, code: str, column: str) -> None:
    """Puts the link into the state that nobody can ask for over the API; returns once redirects know."""
    api.sql(f"UPDATE links SET {column} = now() WHERE short_code = $1", code)  # noqa: S608 - a column's name
    run(until(lambda: "location" not in api.http.head(f"/{code}").headers))


@pytest.mark.parametrize("form", ["/{}+", "/{}%2B", "/{}+/", "/{}+?x=1"])
def test_a_preview_tells_where_a_link_leads(api: Api, form: str) -> None:
    link = api.make("https://a.example:8443/x?y#z", title="the owner's own", tags=["internal"], ttl_seconds=3600)
    response = api.http.get(form.format(link["short_code"]), headers=BROWSER)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Document(response.text)
    assert page.one("h1").text == "Where this link leads"
    assert page.facts["Leads to"] == "https://a.example:8443/x?y#z"
    assert page.facts["Short link"] == link["short_url"]
    assert page.facts["Made"].startswith("just now ")
    assert page.facts["Expires"].startswith(("in 59 minutes ", "in 60 minutes "))
    assert page.links == {"Open this link": link["short_url"]}
    # What its owner calls it is nobody else's business.
    assert "owner" not in response.text
    assert "internal" not in response.text


def test_a_preview_for_programs_has_the_same_words_as_the_api(api: Api) -> None:
    link = api.make("https://a.example/é?%zz", ttl_seconds=3600)
    response = api.http.get(f"/{link['short_code']}+", headers=JSON)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    body = response.json()
    names = ["short_code", "short_url", "original_url", "state", "created_at", "expires_at"]
    assert body == {name: link[name] for name in names}
    assert datetime.fromisoformat(body["created_at"]) < datetime.fromisoformat(body["expires_at"])


def test_a_preview_has_the_whole_public_address(strict: Mesh) -> None:
    with httpx.Client(base_url=strict.http_url, trust_env=False, timeout=20) as client:
        made = client.post("/api/v1/shorten", json={"url": "https://a.example/"}).json()
        page = Document(client.get(f"/{made['short_code']}+").text)
    assert page.links == {"Open this link": made["short_url"]}
    assert made["short_url"] == f"https://Go.Example.com/s/{made['short_code']}"


def test_pages_are_locked_down(api: Api) -> None:
    code, warned = api.code(), api.code()
    set_state(api, warned, "warned_at")
    for path in (f"/{code}+", f"/{warned}", f"/{warned}+", "/nobody-has-this", "/nobody-has-this+"):
        headers = api.http.get(path, headers=BROWSER).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-robots-tag"] == "noindex"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy


def test_a_head_of_a_preview_has_no_body(api: Api) -> None:
    code = api.code()
    got, headed = api.http.get(f"/{code}+"), api.http.head(f"/{code}+")
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize(
    ("column", "status", "state"),
    [("deleted_at", 200, "DELETED"), ("expires_at", 200, "EXPIRED"), ("blocked_at", 451, "BLOCKED")],
)
def test_what_leads_nowhere_tells_no_destination(api: Api, column: str, status: int, state: str) -> None:
    code = api.code("https://secret.example/")
    set_state(api, code, column)
    page = api.http.get(f"/{code}+", headers=BROWSER)
    assert page.status_code == status
    assert Document(page.text).links == {}
    facts = api.http.get(f"/{code}+", headers=JSON)
    assert facts.status_code == status
    if status == 451:
        assert info(status_of_json(facts, 451)).reason == "ERROR_REASON_LINK_BLOCKED"
    else:
        assert facts.json()["state"] == f"LINK_STATE_{state}"
    assert "secret" not in page.text + facts.text


def test_there_is_no_preview_of_what_is_not_there(api: Api) -> None:
    for path in ("/nobody-has-this+", "/+", f"/{api.code()}++"):
        assert info(status_of_json(api.http.get(path), 404)).reason == "ERROR_REASON_LINK_NOT_FOUND"
        assert "<h1>No such link</h1>" in api.http.get(path, headers=BROWSER).text


# Warnings


def test_a_warned_link_warns_people_and_is_refused_to_programs(api: Api, edge_channel: grpc.Channel) -> None:
    code = api.code("https://harm.example/login?x#y")
    set_state(api, code, "warned_at")
    for headers in (BROWSER, {}, {"accept": "image/png"}):
        response = api.http.get(f"/{code}", headers=headers)
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        page = Document(response.text)
        assert page.one("h1").text == "This link may be harmful"
        assert "https://harm.example/login?x#y" in page.shown
        assert page.links == {"Go on to harm.example": "https://harm.example/login?x#y"}
        assert page.one("a").attributes["rel"] == "noreferrer noopener nofollow"
    status = status_of_json(api.http.get(f"/{code}", headers=JSON), 403)
    assert info(status).reason == "ERROR_REASON_LINK_WARNED"
    assert api.link(code)["state"] == "LINK_STATE_WARNED"
    foretold = pb_grpc.LinkServiceStub(edge_channel).ResolveLink(pb.ResolveLinkRequest(short_code=code), timeout=10)
    assert (foretold.http_status, foretold.location, foretold.state) == (200, "", pb.LINK_STATE_WARNED)
    told = Document(api.http.get(f"/{code}+", headers=BROWSER).text)
    assert told.facts["Leads to"] == "https://harm.example/login?x#y"
    assert told.links == {}


def test_a_nasty_destination_is_text_on_every_page(api: Api) -> None:
    code = api.code(NASTY)
    told = Document(api.http.get(f"/{code}+", headers=BROWSER).text)
    assert told.facts["Leads to"] == NASTY
    set_state(api, code, "warned_at")
    page = Document(api.http.get(f"/{code}", headers=BROWSER).text)
    assert page.links == {"Go on to a.example": NASTY}
    for document in (told, page):
        assert not document.all("img")
        assert not document.all("script")


# Queries that go on


FORWARDED = [
    pytest.param("https://a.example/", "x=1", "https://a.example/?x=1", id="no query of its own"),
    pytest.param("https://a.example", "x=1", "https://a.example?x=1", id="no path either"),
    pytest.param("https://a.example/?own=1", "x=1", "https://a.example/?own=1&x=1", id="a query of its own"),
    pytest.param("https://a.example/?", "x=1", "https://a.example/?x=1", id="an empty one"),
    pytest.param("https://a.example/?own=1&", "x=1", "https://a.example/?own=1&x=1", id="one that is open"),
    pytest.param("https://a.example/#f", "x=1", "https://a.example/?x=1#f", id="a fragment"),
    pytest.param("https://a.example/?own#f?g", "x=1", "https://a.example/?own&x=1#f?g", id="query and fragment"),
    pytest.param("https://a.example/", "a=%2B&b=+&c=%20", "https://a.example/?a=%2B&b=+&c=%20", id="plus signs"),
    pytest.param("https://a.example/", "a=1&a=2&a=1", "https://a.example/?a=1&a=2&a=1", id="repeated keys"),
    pytest.param("https://a.example/?a=0", "a=1", "https://a.example/?a=0&a=1", id="a key of its own, again"),
    pytest.param("https://a.example/", "", "https://a.example/", id="an empty query"),
    pytest.param("https://a.example/", "&&=&;?/:@!$'()*,[]|^`{}", None, id="marks"),
    pytest.param("https://a.example/", "%zz%&%00%0d%0a%ff", None, id="broken escapes"),
    pytest.param("https://a.example/", "url=https://evil.example/?x", None, id="a URL"),
    pytest.param("https://a.example/", "x" * 2048, None, id="the longest"),
    pytest.param("https://a.example/é", "x=%C3%A9", "https://a.example/%C3%A9?x=%C3%A9", id="other scripts"),
]


@pytest.mark.parametrize(("url", "query", "location"), FORWARDED)
@pytest.mark.parametrize("max_clicks", [0, 1])
def test_a_query_goes_on_byte_for_byte(api: Api, url: str, query: str, location: str | None, max_clicks: int) -> None:
    code = api.code(url, forward_query=True, max_clicks=max_clicks)
    expected = f"{url}?{query}" if location is None else location
    assert api.redirect(f"/{code}?{query}") == (302, expected.encode())


def test_a_query_that_is_no_uri_is_refused(api: Api) -> None:
    """Browsers percent-encode what is not ASCII. Raw, it is no request that programs read in one way."""
    code = api.code("https://a.example/", forward_query=True, max_clicks=1)
    assert api.redirect(f"/{code}?q=é日") == (400, None)
    assert api.http.get(f"/{code}", params={"q": "é日"}).headers["location"] == "https://a.example/?q=%C3%A9%E6%97%A5"


def test_a_query_that_is_too_long_is_refused(api: Api) -> None:
    code = api.code("https://a.example/", forward_query=True, max_clicks=1)
    status = status_of_json(api.http.get(f"/{code}?{'x' * 2049}"), 414)
    assert info(status).reason == "ERROR_REASON_REQUEST_TOO_LARGE"
    assert info(status).metadata == {"part": "query", "max_bytes": "2048"}
    assert api.link(code)["clicks_used"] == 0


def test_a_link_forwards_only_while_it_says_so(api: Api) -> None:
    code = api.code("https://a.example/?own")
    evil = f"/{code}?redir_url=https://evil.example"
    assert api.redirect(evil) == (302, b"https://a.example/?own")
    api.updated(code, forward_query=True)
    assert api.redirect(evil) == (302, b"https://a.example/?own&redir_url=https://evil.example")
    api.updated(code, forward_query=False)
    assert api.redirect(evil) == (302, b"https://a.example/?own")
