"""The second opinions on a URL: they see what other programs see, and speak up where that is another place."""

from __future__ import annotations

import pytest

import gateway.intake
from gateway.hosts import Host
from gateway.intake import Intake
from gateway.readings import canonical, dissents
from waypost.errors import InvalidFields

AGREED = [
    ("https://a.example", "a.example", 443),
    ("http://a.example", "a.example", 80),
    ("HTTPS://A.Example:443/", "a.example", 443),
    ("https://a.example.:0443/", "a.example", 443),
    ("http://a.example:443/", "a.example", 443),
    ("https://a.example/@b.example:80/", "a.example", 443),
    ("https://a.example?x=https://b.example:1/", "a.example", 443),
    ("https://a.example#@b.example", "a.example", 443),
    ("https://a_b.-c-.example:8080", "a_b.-c-.example", 8080),
    ("https://XN--Mnchen-3YA.de/", "xn--mnchen-3ya.de", 443),
    ("http://127.1/", "127.0.0.1", 80),
    ("http://0x7F.0.0.1:8000/", "2130706433", 8000),
    ("http://[::FFFF:127.0.0.1]/", "[::ffff:7f00:1]", 80),
    ("http://[0:0::1]:80/", "[::1]", 80),
]


@pytest.mark.parametrize(("url", "host", "port"), AGREED)
def test_no_dissent_on_notations_of_one_host(url: str, host: str, port: int) -> None:
    assert list(dissents(url, host, port)) == []


DISSENTED = [
    ("https://a.example/", "b.example", 443, "browsers see a.example:443, other programs see a.example:443"),
    ("https://a.example:80/", "a.example", 443, "browsers see a.example:80, other programs see a.example:80"),
    ("https://bank.example\\@evil.example/", "evil.example", 443, "browsers see bank.example:443"),
    ("https://bank.example\\.evil.example/", "bank.example", 443, "other programs see bank.example\\.evil.example:443"),
    ("https:evil.example/", "evil.example", 443, "other programs see :443"),
    ("https:///evil.example/", "evil.example", 443, "other programs see :443"),
    ("https://%65vil.example/", "%65vil.example", 443, "browsers see evil.example:443"),
    ("https://a^b.example/", "a^b.example", 443, "browsers see no host"),
    ("https://1a.xn--4db/", "1a.xn--4db", 443, "browsers see no host"),
    ("https://1.2.3.4.5/", "1.2.3.4.5", 443, "browsers see no host"),
    ("https://xn--a/", "xn--a", 443, "browsers see no host"),
    ("https://[::1/", "[::1", 443, "browsers see no host, other programs see no host"),
    ("https://a.example:99999/", "a.example", 99999, "browsers see no host, other programs see no host"),
    (
        "http://[::ffff:127.0.0.1]/",
        "127.0.0.1",
        80,
        "browsers see [::ffff:7f00:1]:80, other programs see ::ffff:127.0.0.1:80",
    ),
]


@pytest.mark.parametrize(("url", "host", "port", "said"), DISSENTED)
def test_dissent_says_who_sees_what(url: str, host: str, port: int, said: str) -> None:
    assert ", ".join(dissents(url, host, port)) == said


@pytest.mark.parametrize("host", ["ex%61mple.com", "ｅvil.example", "a%00.example", "1.2.3.4.5", "xn--a", "%31.0.0.1"])
def test_intake_refuses_what_its_own_parser_lets_through_by_mistake(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gullible(text: str) -> Host:
        return Host(text, text.lower(), labels=tuple(text.split(".")))

    intake = Intake([])
    monkeypatch.setattr(gateway.intake, "parse_host", gullible)
    with pytest.raises(InvalidFields) as caught:
        intake.destination(f"https://{host}/")
    (violation,) = caught.value.violations
    assert violation.field == "url"
    assert "but not for all programs (browsers see" in violation.description
    assert "write its host in a plainer way" in violation.description


CANONICAL = [
    ("A.Example.", "a.example"),
    ("a.example", "a.example"),
    ("127.1", "127.0.0.1"),
    ("0x7f000001.", "127.0.0.1"),
    ("[2001:DB8:0:0::1]", "2001:db8::1"),
    ("2001:db8::1", "2001:db8::1"),
    ("[::g]", "[::g]"),
    ("1.2.3.4.5", "1.2.3.4.5"),
    ("", ""),
]


@pytest.mark.parametrize(("host", "form"), CANONICAL)
def test_canonical(host: str, form: str) -> None:
    assert canonical(host) == form
