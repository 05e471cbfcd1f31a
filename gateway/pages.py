"""The pages that people may see instead of a redirect: what they say, and how."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Template

from gateway.ages import absolute, relative
from gateway.intake import location
from gateway.markup import Markup, fill, template
from gateway.redirects import Preview
from waypost.model import LinkState

_BASE = template("base.html")
_PREVIEW = template("preview.html")
_WARNING = template("warning.html")
_STYLE = template("style.css").template

_MESSAGE = Template("<p>$text</p>$code")
_CODE = Template("\n<pre>$code</pre>")
_ACTION = Template('<p class="action"><a href="$href" rel="nofollow">Open this link</a></p>')
_FACT = Template("<div><dt>$name</dt><dd>$fact</dd></div>")
_ADDRESS = Template('<span class="address"$focus>$before<strong>$host</strong>$after</span>')
_TIME = Template('<time datetime="$machine" title="$absolute">$relative</time> <span class="soft">$absolute</span>')

# A destination, which intake has found to have a host and no user name.
_HOST = re.compile(r"(https?://)(\[[^\]]*\]|[^/?#:]*)(.*)", re.IGNORECASE | re.DOTALL)
_LONG = 400
"""Characters of an address from which on its box is likely to scroll, so that it must be within reach of a keyboard."""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HTML_HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex",
}
"""What every page is sent with: it runs nothing, loads nothing, and is neither framed nor found."""


@dataclass(frozen=True, slots=True)
class Page:
    """A title, a sentence or two, and perhaps a block of code; all plain text. `alert`: it is to be heeded."""

    title: str
    text: str
    code: str = ""
    alert: bool = False


HELD = Page(
    "This link opens a limited number of times",
    "Where it leads is told only to those who open it. Open it in a browser: that uses one of the times.",
)
"""In place of a link with a number of clicks, for those who do not take one."""

# A title for each state, and what the state means.
_STATES = {
    LinkState.ACTIVE: ("Where this link leads", "The link works. Nothing has been opened yet."),
    LinkState.WARNED: (
        "This link may be harmful",
        "The people who run this site have reason to believe that it leads somewhere harmful.",
    ),
    LinkState.EXPIRED: ("This link has expired", "Its time is over. It leads nowhere now."),
    LinkState.EXHAUSTED: (
        "This link is used up",
        "It was made to be opened a number of times, and all of them are used.",
    ),
    LinkState.DELETED: ("This link is gone", "Whoever made it has taken it away."),
    LinkState.BLOCKED: ("This link is blocked", "The people who run this site have blocked it."),
}

_UNTOLD = "This is told only to those who open the link."
_UNTOLD_WARNED = (
    "It opens a limited number of times, so where it leads is told only to those who open it; and while it is under "
    "suspicion, it opens for nobody."
)


def message(page: Page) -> bytes:
    """A page that says one thing."""
    code = fill(_CODE, code=page.code) if page.code else Markup()
    return _page(page.title, fill(_MESSAGE, text=page.text, code=code), alert=page.alert)


def preview_page(facts: Preview, short_url: str) -> bytes:
    """What is told of a link before it is followed. Its button leads to the short address: a click there is seen."""
    title, text = _STATES[facts.state]
    action = Markup()
    if facts.state is LinkState.ACTIVE:
        action = fill(_ACTION, href=short_url)
        if facts.limited:
            title, text = HELD.title, "Opening it uses one of the times."
    rows = []
    if facts.url:
        rows.append(fill(_FACT, name="Leads to", fact=_address(location(facts.url))))
    elif facts.state in (LinkState.ACTIVE, LinkState.WARNED):
        rows.append(fill(_FACT, name="Leads to", fact=_UNTOLD))
    rows.append(fill(_FACT, name="Short link", fact=short_url))
    rows.append(fill(_FACT, name="Made", fact=_time(facts.created_at, facts.now)))
    if facts.expires_at is not None and facts.state in (LinkState.ACTIVE, LinkState.WARNED, LinkState.EXPIRED):
        name = "Expired" if facts.state is LinkState.EXPIRED else "Expires"
        rows.append(fill(_FACT, name=name, fact=_time(facts.expires_at, facts.now)))
    content = fill(_PREVIEW, text=text, action=action, facts=Markup("\n".join(rows)))
    return _page(title, content, alert=facts.state in (LinkState.WARNED, LinkState.BLOCKED))


def warning_page(target: str) -> bytes:
    """Warns of a doubtful destination and leads on to it; empty: of one that is not told, and with no way on."""
    title, text = _STATES[LinkState.WARNED]
    if not target:
        return message(Page(title, f"{text} {_UNTOLD_WARNED}", alert=True))
    host = _split(target)[1]
    return _page(title, fill(_WARNING, text=text, host=host, address=_address(target), href=target), alert=True)


def _page(title: str, content: Markup, *, alert: bool = False) -> bytes:
    look = Markup(' class="alert"' if alert else "")
    return fill(_BASE, title=title, content=content, look=look, style=Markup(_STYLE)).encode()


def _address(target: str) -> Markup:
    """The whole address with its host in bold, in a box that scrolls if need be."""
    before, host, after = _split(target)
    focus = Markup(' tabindex="0"' if len(target) >= _LONG else "")
    return fill(_ADDRESS, before=before, host=host, after=after, focus=focus)


def _split(target: str) -> tuple[str, str, str]:
    """What stands before the host, the host as it stands there, and the rest."""
    match = _HOST.fullmatch(target)
    return (match[1], match[2], match[3]) if match is not None else ("", target, "")


def _time(at: datetime, now: datetime) -> Markup:
    machine = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return fill(_TIME, machine=machine, absolute=absolute(at), relative=relative(at, now))
