"""Pages escape what they show, and are given to those who want them."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from gateway.pages import Page, html, wants_html

NASTY = "<script>alert(1)</script> \"quoted\" 'single' & $title ${more} $$ %s {0} \N{SNOWMAN}"


class Texts(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_text_is_escaped() -> None:
    page = Texts(html(Page(NASTY, NASTY, small_print=NASTY, code=NASTY)))
    assert "script" not in page.tags
    # Title, heading, text, small print, code: all of it as it was given.
    assert page.texts.count(NASTY) == 5


def test_page_shows_only_what_it_has() -> None:
    page = Texts(html(Page("Title", "Text")))
    assert page.tags.count("p") == 1
    assert "pre" not in page.tags
    assert not any("$" in text for text in page.texts)


def test_page_loads_nothing() -> None:
    text = html(Page("Title", "Text", "small", "code")).decode()
    for what in ("src=", "href=", "url(", "@import", "http:", "https:"):
        assert what not in text


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "TEXT/HTML",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "text/html;q=0.9, application/json;q=0.8",
        "application/json;q=0.8,text/html;q=0.9",
        "text/html, application/json",
        "text/html;charset=utf-8;q=0.5",
        "text/html;q=0.1",
        " , ,text/html",
        "application/json;q=0,text/html",
        "application/json;q=0.5,text/html;level=1",
    ],
)
def test_wants_a_page(accept: str) -> None:
    assert wants_html(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/json, text/html",
        "application/json, text/plain, */*",
        "text/html;q=0.5, application/json",
        "text/html;q=0",
        "text/html;q=0,application/json;q=0",
        "text/html;q=nonsense",
        "text/html;q=nan",
        "text/html;q=-1",
        "text/plain",
        "text/htmlx",
        ";;;,,,",
        "image/avif,image/webp",
    ],
)
def test_does_not_want_a_page(accept: str) -> None:
    assert not wants_html(accept)
