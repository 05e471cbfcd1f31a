"""Redirects through the edge: the destination byte for byte, and what stands in its place when there is none."""

from __future__ import annotations

import itertools
import json
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.api import BROWSER, Api, info, status_of_json
from tests.support.postgres import run
from tests.support.waiting import until

SEEN_SECONDS = 5.0
"""How soon a change that somebody else has made is seen: a second, and what a busy machine adds."""

# Of RFC 3986: what may stand anywhere after the host as it is, besides letters and digits.
MARKS = "!$&'()*+,;=:@"

# Each is stored as given, and is the Location as it stands.
EXACT = [
    pytest.param("https://a.example/%0d%0aSet-Cookie:x=1", id="17"),
    pytest.param("https://a.example/?e=a%2Bb%40c", id="59"),
    pytest.param("https://a.example/?abc#f", id="60"),
    pytest.param("https://a.example/?x=1&x=2", id="61"),
    pytest.param("https://a.example/?q=%24%0A", id="62"),
    pytest.param("https://a.example/%2e%2e/%2Fx", id="63"),
    pytest.param("https://a.example/%253D", id="64"),
    pytest.param("https://evil.example#@bank.example", id="15"),
    pytest.param(f"https://a.example/{MARKS}-._~/;p=1//x/./../?{MARKS}/?#{MARKS}/?", id="RFC 3986"),
    pytest.param("https://a.example/%00?%00#%00", id="NUL, encoded"),
    pytest.param("https://a.example/%E9%ff%c0%80", id="escapes that are no UTF-8"),
    pytest.param("https://a.example/%", id="a lone percent sign"),
    pytest.param("https://a.example/%zz?%2#%", id="broken escapes"),
    pytest.param("https://a.example/%2f%2F%c3%A9%C3%a9", id="letters' case of escapes"),
    pytest.param('https://a.example/"<>`{}|^[]', id="printable, but not of RFC 3986"),
    pytest.param("https://a.example/?a=\\b&c=<script>alert(1)</script>", id="a script"),
    pytest.param("https://a.example/?q=a+b%20c&empty=&=&&novalue", id="queries of all kinds"),
    pytest.param("https://a.example/?u=https://b.example/?v=https://c.example/%23%26", id="URLs in a URL"),
    pytest.param("https://a.example/#!/route?x#y", id="a fragment with all in it"),
    pytest.param("https://a.example/#:~:text=some%20words", id="a text fragment"),
    pytest.param("https://a.example", id="no path"),
    pytest.param("https://a.example?q", id="a query without a path"),
    pytest.param("https://a.example#f", id="a fragment without a path"),
    pytest.param("https://a.example//", id="two slashes"),
    pytest.param("https://a.example/?", id="an empty query"),
    pytest.param("https://a.example/#", id="an empty fragment"),
    pytest.param("HTTPS://A.Example./Path", id="capitals and a final dot"),
    pytest.param("http://a.example:80/", id="the usual port"),
    pytest.param("http://a.example:65535/", id="the last port"),
    pytest.param("http://a.example:00080/", id="a port with zeros"),
    pytest.param("http://[2001:db8::1]/", id="IPv6"),
    pytest.param("http://[2001:DB8:0:0::1]:8443/x?y#z", id="IPv6, port, all parts"),
    pytest.param("http://192.0.2.1/", id="IPv4"),
    pytest.param("http://0xC0.0x00.0x02.0x01/", id="IPv4 in hexadecimal"),
    pytest.param("https://my_host.a.example/", id="an underscore in the host"),
    pytest.param("https://xn--mnchen-3ya.de/", id="an A-label"),
    pytest.param("https://a.example/".ljust(2048, "x"), id="19 2,048 bytes"),
    pytest.param("https://a.example/?".ljust(8192, "%"), id="20 8,192 bytes"),
]

# Non-ASCII is kept as it is and percent-encoded in the Location, with nothing else touched.
ENCODED = [
    pytest.param(
        "https://a.example/café%C3%A9?ü=ß#–", "https://a.example/caf%C3%A9%C3%A9?%C3%BC=%C3%9F#%E2%80%93", id="é"
    ),
    pytest.param("https://a.example/日本語", "https://a.example/%E6%97%A5%E6%9C%AC%E8%AA%9E", id="日本語"),
    pytest.param("https://a.example/😀", "https://a.example/%F0%9F%98%80", id="beyond 16 bits"),
    pytest.param("https://a.example/cafe\u0301", "https://a.example/cafe%CC%81", id="an accent by itself"),
    pytest.param("https://a.example/a\u202eb", "https://a.example/a%E2%80%AEb", id="RTL override in the path"),
    pytest.param("https://a.example/" + "é" * 4087, "https://a.example/" + "%C3%A9" * 4087, id="24 KiB in twos"),
    pytest.param("https://a.example/" + "€" * 2724, "https://a.example/" + "%E2%82%AC" * 2724, id="24 KiB in threes"),
    pytest.param("https://a.example/" + "😀" * 2043, "https://a.example/" + "%F0%9F%98%80" * 2043, id="24 KiB, fours"),
]


@pytest.mark.parametrize("url", EXACT)
def test_a_destination_is_sent_byte_for_byte(api: Api, url: str) -> None:
    link = api.make(url)
    assert link["original_url"] == url
    assert api.redirect(f"/{link['short_code']}") == (302, url.encode())


@pytest.mark.parametrize(("url", "location"), ENCODED)
def test_other_scripts_are_percent_encoded_in_the_location_only(api: Api, url: str, location: str) -> None:
    link = api.make(url)
    assert link["original_url"] == url
    assert api.redirect(f"/{link['short_code']}") == (302, location.encode())
    # The same over HTTP/2, whose header blocks have other bounds.
    with httpx.Client(http1=False, http2=True, base_url=api.mesh.http_url, trust_env=False) as client:
        response = client.get(f"/{link['short_code']}")
    assert (response.http_version, response.headers["location"]) == ("HTTP/2", location)


def test_every_printable_character_passes(api: Api) -> None:
    """In path, query and fragment each: what is refused is refused by intake, nothing else is touched on the way."""
    printable = "".join(map(chr, range(0x21, 0x7F)))
    for start in ("/", "/?", "/#"):
        # Before the query a backslash is a slash to some and not to others.
        text = printable.replace("\\", "") if start == "/" else printable
        text = text.replace("#", "").replace("?", "") if start == "/" else text
        url = f"https://a.example{start}{text}"
        assert api.redirect(f"/{api.code(url)}") == (302, url.encode())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\\"), max_size=200))
def test_any_text_arrives(api: Api, text: str) -> None:
    url = f"https://a.example/{text}"
    # ASCII as it stands, all else as the percent-encoded bytes of its UTF-8.
    location = "".join(char if char.isascii() else quote(char) for char in url)
    assert api.redirect(f"/{api.code(url)}") == (302, location.encode())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_statuses(api: Api, status: int) -> None:
    code = api.code("https://a.example/", redirect_status=status)
    assert api.redirect(f"/{code}") == (status, b"https://a.example/")


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_may_not_be_kept(api: Api, status: int) -> None:
    """Not even one that is called permanent: every click is to be seen, and a deletion to reach everyone."""
    response = api.http.get(f"/{api.code(redirect_status=status)}")
    assert response.headers["cache-control"] == "private, no-store"
    assert not response.headers.keys() & {"etag", "last-modified", "expires", "age", "set-cookie"}
    assert response.content == b""
    assert response.headers["x-content-type-options"] == "nosniff"


def test_conditional_and_range_requests_get_the_whole_answer(api: Api) -> None:
    code = api.code()
    link = api.link(code)
    headers = {"if-none-match": f'"{link["etag"]}", *', "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    for more in ({}, {"range": "bytes=0-1"}):
        assert api.http.get(f"/{code}", headers={**headers, **more}).status_code == 302


def test_head(api: Api) -> None:
    code = api.code("https://a.example/?x")
    got, headed = api.http.get(f"/{code}"), api.http.head(f"/{code}")
    ignored = {"date", "x-correlation-id"}
    for name in (got.headers.keys() | headed.headers.keys()) - ignored:
        assert got.headers[name] == headed.headers[name]
    assert (headed.status_code, headed.content) == (302, b"")
    assert api.http.head("/nobody-has-this").status_code == 404


@pytest.mark.parametrize(
    "rest",
    ["?redir_url=https://evil.example", "?url=//evil.example", "?", "?short_code=x", "?a=b&c=%zz%00", "?" + "q" * 8000],
)
def test_the_query_of_a_short_link_changes_nothing(api: Api, rest: str) -> None:
    code = api.code("https://a.example/?own=1#f")
    assert api.redirect(f"/{code}{rest}") == (302, b"https://a.example/?own=1#f")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"x-forwarded-host": "evil.example"},
        {"x-original-url": "/other"},
        {"x-rewrite-url": "/other"},
        {"x-forwarded-proto": "gopher"},
        {"forwarded": "host=evil.example"},
        {"x-http-method-override": "DELETE"},
    ],
)
def test_headers_of_the_caller_change_nothing(api: Api, headers: dict[str, str]) -> None:
    code = api.code("https://a.example/")
    for path in (f"/{code}", f"/{code}/"):
        response = api.http.get(path, headers=headers)
        assert (response.status_code, response.headers["location"]) == (302, "https://a.example/")
    assert api.link(code)["state"] == "LINK_STATE_ACTIVE"


@pytest.mark.parametrize(
    "path", ["{}++", "{}.", "{}%20", "{}%00", "%20{}", "{}a", "x/{}", "{}/x", "{}%2F", "{}%5C", "..%2F{}", "{};a"]
)
def test_paths_that_are_nearly_a_code(api: Api, path: str) -> None:
    status, location = api.redirect("/" + path.format(api.code()))
    # 400 where programs read the path in different ways.
    assert (status in (400, 404), location) == (True, None)


def test_a_slash_after_the_code_and_other_spellings_of_it(api: Api) -> None:
    code = api.code("https://a.example/")
    for target in (
        f"/{code}/",
        f"//{code}",
        f"/./{code}",
        f"/x/../{code}",
        "/" + "".join(f"%{ord(c):02x}" for c in code),
    ):
        assert api.redirect(target) == (302, b"https://a.example/")


ENDS = [
    pytest.param("unknown", 404, 5, "ERROR_REASON_LINK_NOT_FOUND", id="404"),
    pytest.param("deleted", 410, 9, "ERROR_REASON_LINK_DELETED", id="410 deleted"),
    pytest.param("expired", 410, 9, "ERROR_REASON_LINK_EXPIRED", id="410 expired"),
    pytest.param("blocked", 451, 7, "ERROR_REASON_LINK_BLOCKED", id="451"),
]


@pytest.fixture(scope="module")
def ended(api: Api) -> dict[str, str]:
    """A code that leads nowhere, for each reason there is."""
    codes = {name: api.code("https://secret.example/") for name in ("deleted", "expired", "blocked")}
    api.http.delete(f"/api/v1/urls/{codes['deleted']}")
    api.sql("UPDATE links SET expires_at = now() WHERE short_code = $1", codes["expired"])
    api.sql("UPDATE links SET blocked_at = now() WHERE short_code = $1", codes["blocked"])
    run(until(lambda: all(api.http.get(f"/{code}").status_code != 302 for code in codes.values())))
    return {**codes, "unknown": "nobody-has-this"}


@pytest.mark.parametrize(("why", "http_status", "code", "reason"), ENDS)
def test_in_place_of_a_redirect_for_programs(
    api: Api, ended: dict[str, str], why: str, http_status: int, code: int, reason: str
) -> None:
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.9", "image/png"):
        response = api.http.get(f"/{ended[why]}", headers={"accept": accept})
        status = status_of_json(response, http_status)
        assert (status.code, info(status).reason) == (code, reason)
        assert info(status).metadata["short_code"] == ended[why]
        assert "secret" not in response.text
        assert "location" not in response.headers
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["vary"] == "accept"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-robots-tag"] == "noindex"


@pytest.mark.parametrize(("why", "http_status", "code", "reason"), ENDS)
def test_in_place_of_a_redirect_for_people(
    api: Api, ended: dict[str, str], why: str, http_status: int, code: int, reason: str
) -> None:
    response = api.http.get(f"/{ended[why]}", headers=BROWSER)
    assert (response.status_code, response.headers["content-type"]) == (http_status, "text/html; charset=utf-8")
    assert response.text.startswith("<!doctype html>")
    assert "<script" not in response.text
    assert "secret" not in response.text
    headers = response.headers
    assert (headers["cache-control"], headers["vary"]) == ("no-store", "accept")
    assert headers["x-content-type-options"] == "nosniff"
    assert (headers["x-robots-tag"], headers["referrer-policy"]) == ("noindex", "no-referrer")
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_nothing_of_the_path_gets_onto_a_page(api: Api) -> None:
    for path in ("/<img src=x onerror=alert(1)>", "/%3Cimg%20src=x%20onerror=alert(1)%3E"):
        for headers in (BROWSER, {}):
            response = api.http.get(path, headers=headers)
            assert response.status_code == 404
            assert "<img" not in response.text or response.headers["content-type"] == "application/json"
            assert response.headers["x-content-type-options"] == "nosniff"


def test_a_change_reaches_the_redirect_within_a_second(api: Api) -> None:
    code = api.code()
    assert api.http.get(f"/{code}").status_code == 302
    api.sql("UPDATE links SET blocked_at = now() WHERE short_code = $1", code)
    run(until(lambda: api.http.get(f"/{code}").status_code == 451, SEEN_SECONDS))
    assert api.link(code)["state"] == "LINK_STATE_BLOCKED"
    api.sql("UPDATE links SET blocked_at = NULL WHERE short_code = $1", code)
    run(until(lambda: api.http.get(f"/{code}").status_code == 302, SEEN_SECONDS))
    # Through the API at once: it is this gateway that has made the change.
    api.http.delete(f"/api/v1/urls/{code}")
    assert api.http.get(f"/{code}").status_code == 410


def test_a_code_that_was_asked_for_too_early_works_once_it_is_made(api: Api) -> None:
    alias = f"early-{quote(api.code())}"
    assert api.http.get(f"/{alias}").status_code == 404
    api.make("https://a.example/", alias=alias)
    assert api.http.get(f"/{alias}").headers["location"] == "https://a.example/"


def test_front_page_and_health(api: Api) -> None:
    front = api.http.get("/")
    assert (front.status_code, front.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f"{api.mesh.http_url}/api/v1/shorten" in front.text
    assert front.headers["x-frame-options"] == "DENY"
    assert api.http.get("/healthz").json() == {"status": "alive"}
    ready = api.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert ready.headers["cache-control"] == "no-store"
    assert api.http.get("/robots.txt").text == "User-agent: *\nDisallow: /\n"
    assert api.http.get("/favicon.ico").status_code == 204


def test_a_page_names_no_file_and_no_error_text(api: Api, ended: dict[str, str]) -> None:
    """What strangers may read: no paths, no addresses, no versions."""
    for path, headers in itertools.product((*(f"/{code}" for code in ended.values()), "/readyz"), (BROWSER, {})):
        response = api.http.get(path, headers=headers)
        shown = response.text + json.dumps(dict(response.headers))
        for secret in (str(api.mesh.data), "Traceback", "uvicorn", "Starlette", "asyncpg", "envoy"):
            assert secret not in shown
