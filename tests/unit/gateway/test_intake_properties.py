"""What holds for every URL that intake is given: settled, byte for byte, safe in a header, and soon done."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.intake import Intake, location
from tests.unit.gateway.nasty_urls import NASTY_URLS
from waypost.errors import InvalidFields
from waypost.model import Destination, DestinationFlag

INTAKE = Intake(["go.waypost.example"])

_URL = re.compile(r"(https?://)([^/?#:\[]*|\[[^\]]*\])(:[0-9]+)?([/?#].*)?", re.IGNORECASE | re.DOTALL)


def taken(url: str, intake: Intake = INTAKE) -> Destination | None:
    """What intake makes of a URL; None: refused, and well."""
    try:
        return intake.destination(url)
    except InvalidFields as error:
        (violation,) = error.violations
        assert violation.field == "url"
        # It reaches logs, pages and terminals.
        assert violation.description.isascii()
        assert violation.description.isprintable()
        assert len(violation.description) < 400
        return None


def parts(url: str) -> tuple[str, str, str, str]:
    """Scheme with slashes, host, port with its colon, and the rest."""
    found = _URL.fullmatch(url)
    assert found is not None
    scheme, host, port, rest = found.groups(default="")
    return scheme, host, port, rest


@given(NASTY_URLS)
@settings(max_examples=600, deadline=None)
@example("https://a.example")
@example("https://ﬁ\u0338.example/")
@example("https://ẞ.example/")
@example("https://Ⅻ.example")
@example("https://ª.1")
def test_what_is_taken_is_settled_and_changed_in_its_host_alone(url: str) -> None:
    destination = taken(url)
    if destination is None:
        return
    assert taken(destination.url) == destination
    scheme, host, port, rest = parts(destination.url)
    was = parts(url)
    assert (scheme, port, rest) == (was[0], was[2], was[3])
    if was[1].isascii():
        assert host == was[1]
    assert re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", host)
    assert not re.search(r"[\x00-\x20\x7f-\x9f\s\ud800-\udfff]", destination.url)
    assert "\\" not in re.split("[?#]", destination.url)[0]
    assert len(destination.url.encode()) <= 8192
    assert list(destination.flags) == [flag for flag in DestinationFlag if flag in destination.flags]


@given(NASTY_URLS)
@settings(max_examples=600, deadline=None)
def test_what_is_taken_makes_one_header_line_that_leads_to_the_same_place(url: str) -> None:
    destination = taken(url)
    if destination is None:
        return
    header = location(destination.url)
    assert re.fullmatch("[!-~]+", header)
    assert location(header) == header
    assert parts(header)[:3] == parts(destination.url)[:3]
    assert unquote(header) == unquote(destination.url)
    assert urlsplit(header).username is None


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_a_header_is_one_line_of_ascii_whatever_it_is_made_of(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            location(text)
    else:
        assert re.fullmatch("[!-~]*", location(text))


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), max_size=60))
@settings(max_examples=150, deadline=None)
def test_ascii_after_the_host_is_never_touched(tail: str) -> None:
    for joint in "/?#":
        url = f"https://a.example{joint}{tail}"
        assert INTAKE.destination(url).url == url
        assert location(url) == url
        international = INTAKE.destination(f"https://münchen.de{joint}{tail}").url
        assert international == f"https://xn--mnchen-3ya.de{joint}{tail}"


@given(
    st.lists(
        st.sampled_from(
            ["%2e", "%2F", "%25", "%0d%0a", "%zz", "%", "/..", "/./", "//", "+", "%20", "é", "%C3%A9", "?", "#", "&x=1"]
        )
    )
)
@settings(max_examples=300)
def test_nothing_is_decoded_encoded_or_resolved(pieces: list[str]) -> None:
    url = "https://a.example/" + "".join(pieces)
    assert INTAKE.destination(url).url == url
    assert location(url).replace("%C3%A9", "é") == url.replace("%C3%A9", "é")


# Far longer than the limit: what takes time by the square of the length does not end within a test's time.
_LONG = 2**17
_PATIENT = Intake(["go.waypost.example"], max_url_bytes=8 * _LONG)
_SHAPES = [
    "{}", "https:{}", "https://{}", "https://{}/", "https://a.{}.example/", "https://a@{}", "https://[{}", "https://[{}]/",
    "https://xn--{}.example/", "https://a.example:{}", "https://a.example/{}", "https://a.example/{}\\", "https://a.example?{}",
    "https://a.example#{}\n", "https://ä.example/{}", "https://1.{}", "https://0x{}",
]  # fmt: skip
_FILLERS = [
    "a", "0", "/", "\\", "?", "#", "@", ":", "[", ".", "-", "%", "%2", "%41", "xn--", " ", "\r\n", "\ud800", "ä", "ß",
    "日", "👩", "א", "。", "\u0301", "\u0344", "\u200d", "\u202e",
]  # fmt: skip


@pytest.mark.parametrize("shape", _SHAPES)
def test_time_grows_with_the_length_and_not_with_its_square(shape: str) -> None:
    for filler in _FILLERS:
        destination = taken(shape.format(filler * (_LONG // len(filler))), _PATIENT)
        assert destination is None or location(destination.url)
