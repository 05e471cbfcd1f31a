"""The few pages that people may see instead of a redirect."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template

_MESSAGE = Template(files("gateway").joinpath("templates/message.html").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Page:
    """A title, a sentence or two, and perhaps a line in smaller print or a block of code; all plain text."""

    title: str
    text: str
    small_print: str = ""
    code: str = ""


def html(page: Page) -> bytes:
    """The page as HTML; every text of it escaped."""
    more = f'<p class="soft">{escape(page.small_print)}</p>' if page.small_print else ""
    if page.code:
        more += f"<pre>{escape(page.code)}</pre>"
    return _MESSAGE.substitute(title=escape(page.title), text=escape(page.text), more=more).encode()


def wants_html(accept: str) -> bool:
    """Whether an `Accept` header prefers HTML to JSON, as browsers' do; absent or `*/*` is a program's.

    Source: RFC 9110, section 12.5.1, for two types.
    """
    best = {"text/html": 0.0, "application/json": 0.0}
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind not in best:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        best[kind] = max(best[kind], quality)
    return best["text/html"] > best["application/json"] or (
        best["text/html"] == best["application/json"] > 0
        and accept.lower().find("text/html") < accept.lower().find("application/json")
    )
