"""What stands in place of a redirect or a page: a page of its own for browsers, JSON for programs."""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.accept import wants_html
from gateway.pages import HTML_HEADERS, Page, message
from gateway.redirects import Answer
from waypost.errors import (
    DependencyUnavailable,
    LinkBlocked,
    LinkExhausted,
    LinkGone,
    LinkNotFound,
    LinkWarned,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    RouteNotFound,
    WaypostError,
)
from waypost.ids import correlation_id
from waypost.model import LinkState
from waypost.rpc.problem import PROBLEM_TYPE, STATUS_TYPE, problem_json, status_json, wants_problem
from waypost.rpc.status import to_status

HEADERS = {
    "cache-control": "no-store",
    "vary": "accept",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
"""Of everything that is made for one visitor at this moment."""

_DEFECT = (500, Page("Something went wrong", "This is our fault, not yours. Please try again."))
_GONE = (410, Page("This link is gone", "Its time is over, or whoever made it has taken it away."))
_AWAY = (503, Page("One moment, please", "This link cannot be looked up just now. Please try again shortly."))

_PROBLEMS: dict[type[BaseException], tuple[int, Page]] = {
    LinkWarned: (
        403,
        Page("This link may be harmful", "Open it in a browser to decide whether to go on.", alert=True),
    ),
    LinkNotFound: (404, Page("No such link", "There is no link with this address. Check it for a slip of the pen.")),
    RouteNotFound: (404, Page("Nothing here", "There is nothing at this address. Check it for a slip of the pen.")),
    LinkGone: _GONE,
    LinkExhausted: (
        410,
        Page(
            "This link is used up",
            "It was made to be opened a number of times, and all of them are used. Ask for a new one where you got it.",
        ),
    ),
    RequestTooLarge: (
        414,
        Page("This address is too long", "What stands after its question mark is longer than the link passes on."),
    ),
    RateLimited: (
        429,
        Page("Too many at once", "There were too many requests from your network. Please wait a little and try again."),
    ),
    LinkBlocked: (451, Page("This link is blocked", "The people who run this site have blocked it.", alert=True)),
    DependencyUnavailable: _AWAY,
    Overloaded: _AWAY,
}

_log = structlog.get_logger()


def error_of(short_code: str, answer: Answer) -> WaypostError:
    """Why a link does not redirect."""
    match answer.state:
        case LinkState.BLOCKED:
            return LinkBlocked(short_code)
        case LinkState.EXPIRED | LinkState.DELETED:
            return LinkGone(short_code, expired=answer.state is LinkState.EXPIRED)
        case LinkState.EXHAUSTED:
            return LinkExhausted(short_code)
        case LinkState.WARNED:
            return LinkWarned(short_code)
        case _:
            return LinkNotFound(short_code)


def problem(request: Request, error: BaseException, http_status: int = 0) -> Response:
    """A page for who prefers HTML; else a `google.rpc.Status`, or for who asks for that the same as RFC 9457's problem.

    `http_status`: another than the error's own. What is no error of ours is a defect: the log has its cause, and who
    asked has the log's correlation id.
    """
    own_status, page = _PROBLEMS.get(type(error), _DEFECT)
    http_status = http_status or own_status
    own_id = ""
    if http_status == 500:
        own_id = correlation_id(request.headers.get("x-correlation-id"), request.headers.get("x-request-id"))
        # The path's last part alone: what stands after it may be private.
        code = request.path_params.get("short_code", "")
        _log.error("request failed", short_code=code, correlation_id=own_id, exc_info=error)
    status = to_status(error, own_id)
    headers = {**HEADERS, **status.headers}
    accept = request.headers.get("accept", "")
    if wants_html(accept):
        return Response(message(page), http_status, {**headers, **HTML_HEADERS}, media_type="text/html")
    if wants_problem(accept):
        return Response(problem_json(status, http_status), http_status, headers, media_type=PROBLEM_TYPE)
    return Response(status_json(status), http_status, headers, media_type=STATUS_TYPE)
