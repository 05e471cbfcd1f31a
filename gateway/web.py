"""The web port: redirects, a few pages, and the health addresses of load balancers."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping

import orjson
import structlog
from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.pages import Page, html, wants_html
from gateway.redirects import Answer
from waypost.errors import DependencyUnavailable, LinkBlocked, LinkGone, LinkNotFound, Overloaded, WaypostError
from waypost.ids import correlation_id
from waypost.model import LinkState
from waypost.rpc.health import Health
from waypost.rpc.status import to_status
from waypost.telemetry import LATENCY_BUCKETS

Resolve = Callable[[str], Awaitable[Answer]]

# Even a permanent redirect is asked for again: every click is counted, and a deletion reaches everyone.
_NOT_STORED = (b"cache-control", b"private, no-store")

_HTML_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}

_PAGES = {
    404: Page("No such link", "There is no link with this address. Check it for a slip of the pen."),
    410: Page("This link is gone", "Its time is over, or whoever made it has taken it away."),
    451: Page("This link is blocked", "The people who run this site have blocked it."),
    500: Page("Something went wrong", "This is our fault, not yours. Please try again."),
    503: Page("One moment, please", "This link cannot be looked up just now. Please try again shortly."),
}


class RedirectMetrics:
    """`redirects_total{status}` and how long a redirect takes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.total = Counter("redirects_total", "Answers to short links.", ["status"], registry=registry)
        self.seconds = Histogram(
            "redirect_duration_seconds", "Time to answer a short link.", buckets=LATENCY_BUCKETS, registry=registry
        )


class Redirects:
    """`GET` and `HEAD /{short_code}`, as a bare ASGI application: this is the path that has to be short."""

    def __init__(self, resolve: Resolve, metrics: RedirectMetrics) -> None:
        self._resolve = resolve
        self._metrics = metrics
        self._log = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        started = time.perf_counter()
        short_code = scope["path_params"]["short_code"]
        try:
            answer = await self._resolve(short_code)
        except (DependencyUnavailable, Overloaded) as error:
            status = 503
            await problem(Request(scope), status, error)(scope, receive, send)
        except Exception as error:
            status, request = 500, Request(scope)
            own_id = correlation_id(request.headers.get("x-correlation-id"), request.headers.get("x-request-id"))
            self._log.exception("redirect failed", short_code=short_code, correlation_id=own_id)
            await problem(request, status, error, own_id)(scope, receive, send)
        else:
            status = answer.status
            if answer.location:
                headers = [
                    (b"location", answer.location.encode("ascii")),
                    _NOT_STORED,
                    (b"content-length", b"0"),
                ]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
            else:
                await problem(Request(scope), status, _error_of(short_code, answer))(scope, receive, send)
        self._metrics.total.labels(str(status)).inc()
        self._metrics.seconds.observe(time.perf_counter() - started)


def _error_of(short_code: str, answer: Answer) -> WaypostError:
    match answer.state:
        case LinkState.BLOCKED:
            return LinkBlocked(short_code)
        case LinkState.EXPIRED | LinkState.DELETED:
            return LinkGone(short_code, expired=answer.state is LinkState.EXPIRED)
        case _:
            return LinkNotFound(short_code)


def problem(request: Request, http_status: int, error: BaseException, own_id: str = "") -> Response:
    """What stands in place of a redirect: a page for browsers, a `google.rpc.Status` in JSON for the rest.

    `own_id`: the correlation id that the log has beside the cause, for an error whose cause is told nobody else.
    """
    headers = {
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-robots-tag": "noindex",
        "vary": "accept",
    }
    if isinstance(error, DependencyUnavailable | Overloaded):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if wants_html(request.headers.get("accept", "")):
        page = _PAGES[http_status]
        return Response(html(page), http_status, {**headers, **_HTML_HEADERS}, media_type="text/html")
    body = MessageToDict(to_status(error, own_id).to_proto(), preserving_proto_field_name=True)
    return Response(orjson.dumps(body), http_status, headers, media_type="application/json")


def web_app(resolve: Resolve, health: Health, metrics: RedirectMetrics, public_url: str) -> ASGIApp:
    """The whole web port."""
    home = html(
        Page(
            "Waypost",
            "Short links, self-hosted. Make one:",
            code=f'curl -s {public_url}/api/v1/shorten -d \'{{"url": "https://example.com/"}}\'',
        )
    )

    async def front(_: Request) -> Response:
        return Response(home, headers=_HTML_HEADERS, media_type="text/html")

    async def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers={"cache-control": "no-store"})

    async def ready(_: Request) -> Response:
        return JSONResponse(health.snapshot(), 200 if health.ready else 503, {"cache-control": "no-store"})

    async def no_icon(_: Request) -> Response:
        return Response(status_code=204, headers={"cache-control": "public, max-age=86400"})

    async def robots(_: Request) -> Response:
        return Response("User-agent: *\nDisallow: /\n", media_type="text/plain")

    async def elsewhere(request: Request, error: Exception) -> Response:
        status: int = getattr(error, "status_code", 404)
        if status == 404:
            return problem(request, 404, LinkNotFound(request.scope["path"].strip("/")))
        own: Mapping[str, str] = getattr(error, "headers", None) or {}
        return JSONResponse({"code": 12, "message": f"{request.method} is not served here", "details": []}, status, own)

    redirects = Redirects(resolve, metrics)
    app = Starlette(
        routes=[
            Route("/", front),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/favicon.ico", no_icon),
            Route("/robots.txt", robots),
            Route("/{short_code}", redirects, methods=["GET"]),
            # Some programs add a slash to whatever they take for a folder.
            Route("/{short_code}/", redirects, methods=["GET"]),
        ],
        exception_handlers={404: elsewhere, 405: elsewhere},
    )
    # The router's own way with slashes is a redirect to wherever the Host header says.
    app.router.redirect_slashes = False
    return app
