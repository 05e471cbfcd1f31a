"""Pages say what they should and no more, escape whatever they show, and can be read by everyone."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import timedelta

import pytest

from gateway import problems
from gateway.pages import HELD, HTML_HEADERS, Page, message, preview_page, warning_page
from gateway.redirects import Preview
from tests.support.html import Document
from tests.support.visitors import NOW
from waypost.model import LinkState

NASTY = "<script>alert(1)</script> \"quoted\" 'single' & $title ${content} $$ %s {0} \N{SNOWMAN}"
NASTY_URL = "https://a.example/<img src=x onerror=alert(1)>\"'><script>alert(1)</script>&amp;$host".replace(
    " ", "\u00a0"
)
SHORT = "https://go.example/Ab3xY7z"
URL = "https://docs.example.org:8443/handbook?lang=en#top"


def facts(
    state: LinkState = LinkState.ACTIVE, url: str = URL, *, limited: bool = False, ends: timedelta | None = None
) -> Preview:
    """A link that was made three days ago."""
    ended = None if ends is None else NOW + ends
    return Preview("Ab3xY7z", state, url, limited, NOW - timedelta(days=3), ended, NOW)


PAGES = {
    "home": message(Page("Waypost", "Text", code="code")),
    "held": message(HELD),
    **{f"problem {kind.__name__}": message(page) for kind, (_, page) in problems._PROBLEMS.items()},
    "warning": warning_page(URL),
    "warning, nasty": warning_page(NASTY_URL.replace("\u00a0", "%20")),
    "warning, not told": warning_page(""),
    **{f"preview, {state}": preview_page(facts(state, "", ends=timedelta(1)), SHORT) for state in LinkState},
    "preview, told": preview_page(facts(), SHORT),
    "preview, limited": preview_page(facts(url="", limited=True), SHORT),
    "preview, nasty": preview_page(facts(url=NASTY_URL), SHORT),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_can_be_read_by_everyone(name: str) -> None:
    page = Document(PAGES[name])
    assert PAGES[name].startswith(b"<!doctype html>\n")
    assert page.one("html").attributes == {"lang": "en"}
    assert page.one("h1").text == page.one("title").text != ""
    for landmark in ("header", "main", "footer"):
        assert page.one(landmark).text
    named = {meta.attributes.get("name"): meta.attributes.get("content") for meta in page.all("meta")}
    assert named["robots"] == "noindex"
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert page.all("meta")[0].attributes == {"charset": "utf-8"}
    # Nothing is left of a template.
    assert not re.search(r"\$[a-z{]", page.shown.replace("$host", ""))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_and_runs_nothing(name: str) -> None:
    page = Document(PAGES[name])
    allowed = {"html", "head", "meta", "title", "style", "body", "header", "main", "footer"}
    allowed |= {"h1", "p", "a", "pre", "dl", "div", "dt", "dd", "span", "strong", "time"}
    assert {element.tag for element in page.elements} <= allowed
    attributes = {name for element in page.elements for name in element.attributes}
    assert not attributes & {"src", "style", "srcset", "background", "action"}
    assert not any(name.startswith("on") for name in attributes)
    style = page.one("style").text
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_names_the_style_that_the_page_has(name: str) -> None:
    (style,) = re.findall(r"<style>(.*)</style>", PAGES[name].decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in HTML_HEADERS["content-security-policy"]


def test_every_text_of_a_message_is_escaped() -> None:
    page = Document(message(Page(NASTY, NASTY, code=NASTY)))
    assert not page.all("script")
    assert page.one("title").text == page.one("h1").text == page.one("pre").text == NASTY
    assert page.one("main").text == f"{NASTY} {NASTY} {NASTY}"


def test_a_message_shows_only_what_it_has() -> None:
    page = Document(message(Page("Title", "Text")))
    assert page.one("main").text == "Title Text"
    assert not page.all("pre")
    assert not page.all("a")
    assert "class" not in page.one("main").attributes
    assert Document(message(Page("Title", "Text", alert=True))).one("main").attributes == {"class": "alert"}


# The preview


def test_a_preview_tells_where_a_link_leads_and_leads_to_the_link() -> None:
    page = Document(preview_page(facts(ends=timedelta(days=4, hours=1)), SHORT))
    assert page.one("h1").text == "Where this link leads"
    assert page.facts == {
        "Leads to": URL,
        "Short link": SHORT,
        "Made": "3 days ago 29 May 2026, 12:00 UTC",
        "Expires": "in 4 days 5 June 2026, 13:00 UTC",
    }
    assert page.one("strong").text == "docs.example.org"
    made, ends = page.all("time")
    assert made.attributes == {"datetime": "2026-05-29T12:00:00Z", "title": "29 May 2026, 12:00 UTC"}
    assert ends.attributes["datetime"] == "2026-06-05T13:00:00Z"
    # Not to the destination: a click is to be seen.
    assert page.links == {"Open this link": SHORT}


def test_a_preview_of_a_link_with_a_number_of_clicks_does_not_tell() -> None:
    page = Document(preview_page(facts(url="", limited=True), SHORT))
    assert page.one("h1").text == "This link opens a limited number of times"
    assert page.facts["Leads to"] == "This is told only to those who open the link."
    assert page.links == {"Open this link": SHORT}
    assert "docs.example.org" not in page.shown


@pytest.mark.parametrize(
    ("state", "title", "facts_told"),
    [
        (LinkState.WARNED, "This link may be harmful", {"Leads to", "Short link", "Made", "Expires"}),
        (LinkState.EXPIRED, "This link has expired", {"Short link", "Made", "Expired"}),
        (LinkState.EXHAUSTED, "This link is used up", {"Short link", "Made"}),
        (LinkState.DELETED, "This link is gone", {"Short link", "Made"}),
        (LinkState.BLOCKED, "This link is blocked", {"Short link", "Made"}),
    ],
)
def test_a_preview_of_what_does_not_redirect_leads_nowhere(state: LinkState, title: str, facts_told: set[str]) -> None:
    ends = -timedelta(days=2) if state is LinkState.EXPIRED else timedelta(days=2)
    url = URL if state is LinkState.WARNED else ""
    page = Document(preview_page(facts(state, url, ends=ends), SHORT))
    assert page.one("h1").text == title
    assert page.facts.keys() == facts_told
    assert page.links == {}
    if state is LinkState.EXPIRED:
        assert page.facts["Expired"] == "2 days ago 30 May 2026, 12:00 UTC"


def test_a_warned_link_with_a_number_of_clicks_is_not_told_either() -> None:
    page = Document(preview_page(facts(LinkState.WARNED, "", limited=True), SHORT))
    assert page.facts["Leads to"] == "This is told only to those who open the link."
    assert page.links == {}


def test_a_destination_is_shown_as_a_browser_will_send_it() -> None:
    """Nothing in it can turn the line about, or look like another character."""
    page = Document(preview_page(facts(url="https://xn--mnchen-3ya.de/\u202egpj.exe?q=й"), SHORT))
    assert page.facts["Leads to"] == "https://xn--mnchen-3ya.de/%E2%80%AEgpj.exe?q=%D0%B9"
    assert page.one("strong").text == "xn--mnchen-3ya.de"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://a.example", "a.example"),
        ("HTTPS://A.Example./x", "A.Example."),
        ("http://a.example:65535/", "a.example"),
        ("http://[2001:db8::1]:80/x", "[2001:db8::1]"),
        ("https://a.example?b.example", "a.example"),
        ("https://a.example#@b.example", "a.example"),
        ("https://a.example/https://b.example/", "a.example"),
        ("https://a.example?x@b.example:80/", "a.example"),
    ],
)
def test_the_host_stands_out(url: str, host: str) -> None:
    for page in (Document(preview_page(facts(url=url), SHORT)), Document(warning_page(url))):
        assert page.one("strong").text == host
        assert url in page.shown
    (large,) = [p for p in Document(warning_page(url)).all("p") if p.attributes.get("class") == "host"]
    assert large.text == host


@pytest.mark.parametrize(("size", "reachable"), [(399, False), (400, True), (24_000, True)])
def test_a_long_address_is_all_there_and_within_reach_of_a_keyboard(size: int, reachable: bool) -> None:
    url = "https://a.example/".ljust(size, "x")
    for page in (Document(preview_page(facts(url=url), SHORT)), Document(warning_page(url))):
        (box,) = [span for span in page.all("span") if span.attributes.get("class") == "address"]
        assert box.text == url
        assert (box.attributes.get("tabindex") == "0") == reachable


# The warning


def test_a_warning_says_where_a_link_leads_and_leaves_the_choice() -> None:
    page = Document(warning_page(URL))
    assert page.one("h1").text == "This link may be harmful"
    assert page.one("main").attributes == {"class": "alert"}
    assert URL in page.shown
    assert page.links == {"Go on to docs.example.org": URL}
    assert page.one("a").attributes["rel"] == "noreferrer noopener nofollow"
    assert "go back" in page.shown


def test_a_warning_that_may_not_tell_says_why_and_leads_nowhere() -> None:
    page = Document(warning_page(""))
    assert page.one("h1").text == "This link may be harmful"
    assert "It opens a limited number of times, so where it leads is told only to those who open it" in page.shown
    assert page.links == {}


def test_a_nasty_destination_is_text() -> None:
    target = "https://a.example/<img%20src=x%20onerror=alert(1)>\"'><script>alert(1)</script>&amp;&lt;$host${title}$$"
    warning = Document(warning_page(target))
    assert target in warning.shown
    # The link leads exactly there: nothing of it ends the attribute.
    assert warning.links == {"Go on to a.example": target}
    told = Document(preview_page(facts(url=target), SHORT))
    assert told.facts["Leads to"] == target
    assert told.links == {"Open this link": SHORT}


def contrast(one: str, other: str) -> float:
    """Source: WCAG 2.1, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        digits = colour.lstrip("#")
        if len(digits) == 3:
            digits = "".join(digit * 2 for digit in digits)
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_text_stands_out_from_its_ground_by_day_and_by_night() -> None:
    style = Document(PAGES["home"]).one("style").text
    palettes = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block)) for block in re.findall(r":root \{(.*?)\}", style)
    ]
    assert len(palettes) == 2
    for palette in palettes:
        for text in ("ink", "soft", "alert"):
            for ground in ("paper", "card"):
                assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
        assert contrast(palette["on-go"], palette["go"]) >= 4.5
        # The outline of what has the focus.
        assert contrast(palette["go"], palette["card"]) >= 3
