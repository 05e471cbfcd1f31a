"""Whatever intake takes leads to the same place in everybody's program; everything else has been refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings

from gateway.intake import Intake, location
from tests.support.missing import missing
from tests.unit.gateway.nasty_urls import NASTY_URLS, SEEDS
from tests.unit.gateway.other_parsers import DEFAULT_PORTS, PARSERS, Curl, one_notation, place
from waypost.errors import InvalidFields

INTAKE = Intake(["go.waypost.example"])

# RFC 3986, appendix B, with the authority split as in section 3.2 and no user info.
_PARTS = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]+))?(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)


def stored(url: str) -> str | None:
    """What intake makes of a URL; None: it is refused."""
    try:
        return INTAKE.destination(url).url
    except InvalidFields:
        return None


def ours(url: str) -> tuple[str, int]:
    """Where a stored URL leads."""
    parts = _PARTS.fullmatch(url)
    assert parts is not None
    scheme, host, port = parts.groups()
    return one_notation(host), int(port) if port else DEFAULT_PORTS[scheme.lower()]


def others(url: str) -> dict[str, tuple[str, int] | None]:
    """What the other parsers see, in the Location header that visitors get and in the URL that the API shows."""
    seen = {f"{name}, Location": place(parser, location(url)) for name, parser in PARSERS.items()}
    # The grammar of RFC 3986 has no characters beyond ASCII.
    return seen | {name: place(parser, url) for name, parser in PARSERS.items() if name != "rfc3986"}


def strays(url: str, seen: dict[str, tuple[str, int] | None]) -> dict[str, tuple[str, int] | None]:
    """Those of the parsers that do not see where a stored URL leads."""
    expected = ours(url)
    # Some take no address with zeros in front; who follows no link is not led astray.
    tolerated = (expected, None) if expected[0][-1].isdigit() else (expected,)
    return {name: found for name, found in seen.items() if found not in tolerated}


@given(NASTY_URLS)
@settings(max_examples=600, deadline=None)
def test_all_parsers_see_the_host_and_port_that_were_checked(url: str) -> None:
    if kept := stored(url):
        assert strays(kept, others(kept)) == {}


@pytest.mark.parametrize("url", [url for url in SEEDS if stored(url)])
def test_all_parsers_agree_on_every_known_case_that_is_taken(url: str) -> None:
    kept = stored(url)
    assert kept is not None
    assert strays(kept, others(kept)) == {}


@pytest.mark.parametrize(
    "url",
    [
        "https://bank.example\\@evil.example/",
        "https://evil.example\\.bank.example/",
        "https:evil.example/",
        "https:///evil.example/",
        "https://ex%61mple.com/",
        "https://0x/",
        "https://1a.xn--4db/",
        "https://1.2.3.08/",
    ],
)
def test_the_parsers_differ_on_what_intake_refuses(url: str) -> None:
    # Were it not so, the tests above would say little.
    assert stored(url) is None
    assert len({place(parser, url) for parser in PARSERS.values()}) > 1


def _curl() -> Curl:
    try:
        return Curl()
    except OSError:
        missing("there is no libcurl here")


def test_curl_sees_the_host_and_port_that_were_checked() -> None:
    curl = _curl()
    # It reads the header of the answer, so it is asked about that alone.
    taken = [kept for url in SEEDS if (kept := stored(url))]
    assert len(taken) > 50
    assert {url: found for url in taken if (found := strays(url, {"curl": place(curl, location(url))}))} == {}

    @given(NASTY_URLS)
    @settings(max_examples=200, deadline=None)
    def agrees(url: str) -> None:
        if kept := stored(url):
            assert strays(kept, {"curl": place(curl, location(kept))}) == {}

    agrees()
