"""What a short link answers, and what is told of it: pure functions that the web port and `ResolveLink` share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote_from_bytes

from gateway.intake import PRINTABLE_ASCII, location
from waypost.errors import RequestTooLarge
from waypost.model import LinkState, Redirect

MAX_QUERY_BYTES = 2048
"""Of a query string that goes on to the destination, as it was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: `status` 301, 302, 307 or 308 with a `location`; 200 with a warning; else 404, 410 or 451.

    `location` is empty for all but redirects. `doubtful`: where a warned link leads, for the page that warns of it.
    Both are empty where the destination is only told for a click. `valid_for`: how long the answer stays right unless
    somebody changes the link; None: for good.
    """

    status: int
    location: str = ""
    state: LinkState | None = None
    valid_for: timedelta | None = None
    doubtful: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """What is told of a link to who has not followed it, as of `now`; nothing that is its owner's alone.

    `url`: where it leads, as stored; empty where that is not told: it leads nowhere now, or only says so for a click
    (`limited`).
    """

    short_code: str
    state: LinkState
    url: str
    limited: bool
    created_at: datetime
    expires_at: datetime | None
    now: datetime


NOT_FOUND = Answer(404)

_LEADING = (LinkState.ACTIVE, LinkState.WARNED)
"""The states in which a link leads somewhere."""

_STATUSES = {
    LinkState.BLOCKED: 451,
    LinkState.EXPIRED: 410,
    LinkState.EXHAUSTED: 410,
    LinkState.DELETED: 410,
}


def answer(redirect: Redirect | None, now: datetime, query: bytes = b"") -> Answer:
    """The answer at `now` to a request with this query string. A link has expired when its last second is over.

    Raises `RequestTooLarge` for a query that the link would forward and that is too long.
    """
    if redirect is None:
        return NOT_FOUND
    state = redirect.state(now)
    if state not in _LEADING:
        return Answer(_STATUSES[state], state=state)
    left = redirect.expires_at - now if redirect.expires_at is not None else None
    target = location(redirect.url)
    if redirect.forward_query and query:
        target = with_query(target, query)
    if state is LinkState.WARNED:
        return Answer(200, state=state, valid_for=left, doubtful="" if redirect.limited else target)
    return Answer(redirect.redirect_status, target, state, left)


def preview(redirect: Redirect, now: datetime) -> Preview:
    """What the preview tells of a link at `now`."""
    state = redirect.state(now)
    return Preview(
        redirect.short_code,
        state,
        redirect.url if state in _LEADING and not redirect.limited else "",
        redirect.limited,
        redirect.created_at,
        redirect.expires_at,
        now,
    )


def without_destination(answered: Answer) -> Answer:
    """The same answer to those who are not told where the link leads."""
    return replace(answered, location="", doubtful="")


def check_query(redirect: Redirect, query: bytes) -> None:
    """Raises `RequestTooLarge` if the link would forward the query string and that is too long."""
    if redirect.forward_query and len(query) > MAX_QUERY_BYTES:
        raise RequestTooLarge(len(query), MAX_QUERY_BYTES, part="query")


def with_query(target: str, query: bytes) -> str:
    """The target with the query string joined to it before its fragment, byte for byte.

    What no header line may hold, and no client should have sent, is percent-encoded. Raises `RequestTooLarge`.
    """
    if len(query) > MAX_QUERY_BYTES:
        raise RequestTooLarge(len(query), MAX_QUERY_BYTES, part="query")
    text = quote_from_bytes(query, safe=PRINTABLE_ASCII)
    before, hash_sign, fragment = target.partition("#")
    joint = "&" if "?" in before else "?"
    if before.endswith(("?", "&")) and joint == "&":
        joint = ""
    return f"{before}{joint}{text}{hash_sign}{fragment}"
