"""Pages are given to those who want them, JSON to those who ask for it."""

from __future__ import annotations

import pytest

from gateway.accept import wants_html, wants_json

HTML = [
    "text/html",
    "TEXT/HTML",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "text/html;q=0.9, application/json;q=0.8",
    "text/html;q=0.9, application/problem+json;q=0.8",
    "application/json;q=0.8,text/html;q=0.9",
    "text/html, application/json",
    "text/html, application/problem+json",
    "text/html;charset=utf-8;q=0.5",
    "text/html;q=0.1",
    " , ,text/html",
    "application/json;q=0,text/html",
    "application/json;q=0.5,text/html;level=1",
]
JSON = [
    "application/json",
    "APPLICATION/JSON; charset=utf-8",
    "application/problem+json",
    "application/problem+json, text/html",
    "application/json, text/html",
    "application/json, text/plain, */*",
    "text/html;q=0.5, application/json",
    "text/html;q=0.5, application/json;q=0.4, application/problem+json",
    "*/*, application/json;q=0.1",
    "text/html;q=0, application/json;q=0.1",
]
NEITHER = [
    "",
    "*/*",
    "text/*",
    "application/*",
    "text/html;q=0",
    "text/html;q=0,application/json;q=0",
    "text/html;q=nonsense",
    "text/html;q=nan",
    "text/html;q=-1",
    "application/json;q=nan",
    "text/plain",
    "text/htmlx",
    "application/jsonp",
    ";;;,,,",
    "image/avif,image/webp",
]


@pytest.mark.parametrize("accept", HTML)
def test_wants_a_page(accept: str) -> None:
    assert (wants_html(accept), wants_json(accept)) == (True, False)


@pytest.mark.parametrize("accept", JSON)
def test_asks_for_json(accept: str) -> None:
    assert (wants_html(accept), wants_json(accept)) == (False, True)


@pytest.mark.parametrize("accept", NEITHER)
def test_asks_for_neither(accept: str) -> None:
    assert (wants_html(accept), wants_json(accept)) == (False, False)
