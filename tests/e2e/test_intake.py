"""What may be a destination and an alias: dangerous and ambiguous input is refused by field, the rest kept as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.api import Api, bad_fields, fresh_alias, info, status_of_json

REFUSED = [
    pytest.param("javascript:alert(1)", id="javascript"),
    pytest.param(" JaVaScRiPt:alert(1)", id="javascript after a space"),
    pytest.param("java\tscript:alert(1)", id="javascript with a tab"),
    pytest.param("\x08javascript:alert(1)", id="javascript after a control"),
    pytest.param("data:text/html,<script>", id="data"),
    pytest.param("vbscript:x", id="vbscript"),
    pytest.param("file:///etc/passwd", id="file"),
    pytest.param("blob:https://a.example/b", id="blob"),
    pytest.param("view-source:https://a.example", id="view-source"),
    pytest.param("//evil.example", id="no scheme but slashes"),
    pytest.param("https:evil.example", id="no slashes"),
    pytest.param("https:/\\evil.example", id="slash and backslash"),
    pytest.param("https://user:pw@bank.example", id="user and password"),
    pytest.param("https://bank.example@evil.example/", id="a host for a user"),
    pytest.param("https://bank.example\\@evil.example", id="backslash before the at"),
    pytest.param("https://a.example/\r\nSet-Cookie: x=1", id="a header in it"),
    pytest.param("https://a.example/\n", id="LF at the end"),
    pytest.param("https://a.example/\0", id="NUL"),
    pytest.param("https://a.example/a b", id="a space"),
    pytest.param("https://a.example/a\u00a0b", id="a space that does not break"),
    pytest.param("https://a.example/a\u2028b", id="a line separator"),
    pytest.param("https://a.example/" + "x" * 8175, id="one byte too many"),
    pytest.param("https://a.example/" + "é" * 4088, id="one byte too many, in characters of two"),
    pytest.param("https://a.example/" + "x" * 31_983, id="far too long"),
    pytest.param("https://evil\u200b.example", id="zero width space"),
    pytest.param("https://evil\u202e.example", id="RTL override"),
    pytest.param("https://evil\u2066.example", id="isolate"),
    pytest.param("https://evil\u00ad.example", id="soft hyphen"),
    pytest.param("http://localhost/", id="own host"),
    pytest.param("http://LOCALHOST./x", id="own host in capitals with a dot"),
    pytest.param("http://localhost:1/", id="own host at another port"),
    pytest.param("http://127.0.0.1/", id="own host by its address"),
    pytest.param("http://127.1/", id="own host in short"),
    pytest.param("http://2130706433/", id="own host as a number"),
    pytest.param("http://0x7f.1/", id="own host in hexadecimal"),
    pytest.param("http://[::1]/", id="own host by its IPv6 address"),
    pytest.param("http://[::ffff:127.0.0.1]/", id="own host within IPv6"),
    pytest.param("https:///path", id="no host"),
    pytest.param("https://", id="nothing but a scheme"),
    pytest.param("https://.example/", id="an empty label"),
    pytest.param("https://a.example:0/", id="port 0"),
    pytest.param("https://a.example:65536/", id="port 65536"),
    pytest.param("https://a.example:/", id="no port"),
    pytest.param("https://[2001:db8::1/", id="no end of the bracket"),
    pytest.param("https://a.example%00.evil.example/", id="an escape in the host"),
    pytest.param("a.example", id="no scheme"),
    pytest.param("mailto:a@a.example", id="a scheme that does not redirect"),
    pytest.param("intent://a.example#Intent;end", id="a scheme that starts programs"),
    pytest.param("", id="empty"),
    pytest.param("http://0x/", id="a zero to some, a name to others"),
    pytest.param("https://1a.xn--4db/", id="a host that browsers refuse"),
    pytest.param("https://\u05d0.1a/", id="written from right to left and from left to right"),
    pytest.param("https://xn--a/", id="no valid punycode"),
    pytest.param("https://[fe80::1%25eth0]/", id="a zone"),
    pytest.param("https://a.example:８０/", id="a port in other digits"),
    pytest.param("https://bank.example／evil.example/", id="a slash of another script"),
    pytest.param("https://bank.example\u2044evil.example/", id="a fraction slash"),
]

FLAGGED = [
    pytest.param(
        "https://аpple.com",
        "https://xn--pple-43d.com",
        ["INTERNATIONAL_HOST", "MIXED_SCRIPT", "CONFUSABLE"],
        id="Cyrillic among Latin",
    ),
    pytest.param(
        "https://xn--pple-43d.com",
        "https://xn--pple-43d.com",
        ["INTERNATIONAL_HOST", "MIXED_SCRIPT", "CONFUSABLE"],
        id="the same, encoded",
    ),
    pytest.param(
        "https://gооgle.com.evil.example/",
        "https://xn--ggle-55da.com.evil.example/",
        ["INTERNATIONAL_HOST", "MIXED_SCRIPT", "CONFUSABLE"],
        id="in a subdomain",
    ),
    pytest.param("https://münchen.de", "https://xn--mnchen-3ya.de", ["INTERNATIONAL_HOST"], id="an umlaut"),
    pytest.param(
        "https://MÜNCHEN.de/Ä?ü",
        "https://xn--mnchen-3ya.de/Ä?ü",
        ["INTERNATIONAL_HOST"],
        id="an umlaut, and more after the host",
    ),
    pytest.param("https://ｅvil.example/", "https://evil.example/", [], id="full width"),
    pytest.param("https://例え。テスト/", "https://xn--r8jz45g.xn--zckzah/", ["INTERNATIONAL_HOST"], id="another dot"),
    pytest.param("https://bit.ly/x", "https://bit.ly/x", ["SHORTENER"], id="another shortener"),
    pytest.param("http://10.0.0.1/", "http://10.0.0.1/", ["IP_ADDRESS", "PRIVATE_HOST"], id="a private address"),
    pytest.param(
        "http://169.254.169.254/", "http://169.254.169.254/", ["IP_ADDRESS", "PRIVATE_HOST"], id="a metadata service"
    ),
    pytest.param("http://intranet/wiki", "http://intranet/wiki", ["PRIVATE_HOST"], id="a name without a dot"),
    pytest.param("http://[2606:4700::1111]/", "http://[2606:4700::1111]/", ["IP_ADDRESS"], id="a public address"),
    pytest.param(
        "https://evil.example#@bank.example", "https://evil.example#@bank.example", [], id="a host in the fragment"
    ),
]


@pytest.mark.parametrize("url", REFUSED)
def test_refused_destinations(api: Api, url: str) -> None:
    response = api.shorten(url)
    assert bad_fields(response).keys() == {"url"}
    # What was wrong is described, not repeated: an answer may end up on a page or in a terminal.
    assert not set(response.json()["message"]) & set("\0\b\t\r\n\u200b\u202e\u2028")


@pytest.mark.parametrize(("url", "stored", "flags"), FLAGGED)
def test_odd_hosts_are_flagged_and_stored_in_ascii(api: Api, url: str, stored: str, flags: list[str]) -> None:
    link = api.make(url)
    assert link["original_url"] == stored
    assert link["destination_flags"] == [f"DESTINATION_FLAG_{flag}" for flag in flags]
    # What is stored is its own normal form.
    assert api.make(stored)["original_url"] == stored


def test_sizes(api: Api) -> None:
    for size in (2048, 8192):
        url = "https://a.example/".ljust(size, "x")
        assert api.link(api.code(url))["original_url"] == url
    assert "8,192" in bad_fields(api.shorten("https://a.example/".ljust(8193, "x")))["url"]
    assert status_of_json(api.shorten("https://a.example/".ljust(2**20, "x")), 413).code == 8


def test_no_link_leads_to_another_one(api: Api) -> None:
    link = api.make()
    assert "own host" in bad_fields(api.shorten(link["short_url"]))["url"]


@pytest.mark.parametrize(
    "alias",
    [
        *("api", "admin", "healthz", "favicon.ico", ".well-known", "API", "Admin", "HealthZ", "Favicon.ICO", "ReadyZ"),
        *("..", "../x", "%2e%2e%2f", "a/b", "a%00b", "a\0b", "_internal", "-dash", "a b", "abc ", " abc", "abc\n"),
        *("café", "cafe\u0301", "ⅰⅰⅰ", "ﬁsh", "👨\u200d👩\u200d👧", "абв", "abc+", "abc.", "abc/", "a.b", "a:b", "a@b"),
        *("a", "ab", "x" * 65, "x" * 5000, "fuck", "f-u-c-k"),
    ],
)
def test_refused_aliases(api: Api, alias: str) -> None:
    assert bad_fields(api.shorten(alias=alias)).keys() == {"alias"}


@pytest.mark.parametrize("shape", ["{}", "{}-x_Y", "9{}"])
def test_aliases(api: Api, shape: str) -> None:
    alias = shape.format(fresh_alias())
    assert api.code("https://a.example/?é", alias=alias) == alias
    assert api.redirect(f"/{alias}") == (302, b"https://a.example/?%C3%A9")


@pytest.mark.parametrize("length", [3, 64])
def test_shortest_and_longest_alias(api: Api, length: int) -> None:
    alias = "z" * length
    assert api.code(alias=alias) == alias
    assert api.http.get(f"/{alias}").status_code == 302


def test_an_alias_is_taken_once_for_all_whatever_its_case(api: Api) -> None:
    alias = f"Aa{fresh_alias()}"
    api.make(alias=alias)
    for other in (alias, alias.lower(), alias.upper()):
        status = status_of_json(api.shorten(alias=other), 409)
        assert (status.code, info(status).reason) == (6, "ERROR_REASON_ALIAS_TAKEN")
        assert info(status).metadata["short_code"] == other
    # Found in its own case only.
    assert api.http.get(f"/{alias.lower()}").status_code == 404
    assert api.http.get(f"/api/v1/urls/{alias.lower()}").status_code == 404
    api.http.delete(f"/api/v1/urls/{alias}")
    assert api.shorten(alias=alias).status_code == 409


@pytest.mark.parametrize("ttl", [0, -1, 315_360_001, 2**31 - 1, -(2**31)])
def test_refused_times_to_live(api: Api, ttl: int) -> None:
    assert bad_fields(api.shorten(ttl_seconds=ttl)).keys() == {"ttl_seconds"}


@pytest.mark.parametrize(
    "time", ["1970-01-01T00:00:00Z", "2001-02-03T04:05:06Z", "9999-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"]
)
def test_refused_times(api: Api, time: str) -> None:
    assert bad_fields(api.shorten(expires_at=time)).keys() == {"expires_at"}


def test_longest_lives(api: Api) -> None:
    link = api.make(ttl_seconds=315_360_000)
    ends = datetime.fromisoformat(link["expires_at"])
    assert abs(ends - datetime.now(UTC) - timedelta(days=3650)) < timedelta(seconds=10)
    last = "9998-12-31T23:59:59.999999Z"
    assert api.make(expires_at=last)["expires_at"] == last


@pytest.mark.parametrize("status", [200, 300, 303, 304, 305, 309, 400, -302, 2**31 - 1])
def test_refused_redirect_statuses(api: Api, status: int) -> None:
    assert bad_fields(api.shorten(redirect_status=status)).keys() == {"redirect_status"}
