"""What a short link answers: one pure function that the web port and `ResolveLink` share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.intake import location
from waypost.model import LinkState, Redirect


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: `status` 301, 302, 307 or 308 with a `location`, else 404, 410 or 451 with none.

    `valid_for`: how long it stays right unless somebody changes the link; None: for good.
    """

    status: int
    location: str = ""
    state: LinkState | None = None
    valid_for: timedelta | None = None


NOT_FOUND = Answer(404)


def answer(redirect: Redirect | None, now: datetime) -> Answer:
    """The answer at `now`. A link that expires in a second has expired when that second begins."""
    if redirect is None:
        return NOT_FOUND
    match redirect.state(now):
        case LinkState.ACTIVE:
            left = redirect.expires_at - now if redirect.expires_at is not None else None
            return Answer(redirect.redirect_status, location(redirect.url), LinkState.ACTIVE, left)
        case LinkState.BLOCKED:
            return Answer(451, state=LinkState.BLOCKED)
        case state:
            return Answer(410, state=state)
