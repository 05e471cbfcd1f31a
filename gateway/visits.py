"""`GET` and `HEAD` of short links: the redirect, as short a way as it can be, and with a plus sign the preview."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Collection
from functools import partial

import orjson
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.accept import wants_json
from gateway.following import RedirectHandlers
from gateway.pages import HELD, HTML_HEADERS, message, preview_page, warning_page
from gateway.preview_bots import is_preview_bot, is_speculative
from gateway.problems import HEADERS, error_of, problem
from gateway.redirects import Answer, Preview
from waypost.api.v1 import link_service_pb2
from waypost.convert import LINK_STATES, short_url, timestamp
from waypost.errors import LinkBlocked, LinkNotFound
from waypost.model import LinkState
from waypost.rpc.address import Network, visitor_address
from waypost.telemetry import LATENCY_BUCKETS

# Even a permanent redirect is asked for again: every click is counted, and a deletion reaches everyone.
_NOT_STORED = (b"cache-control", b"private, no-store")

_HELD = message(HELD)
_PREFETCH_RETRY_SECONDS = 3600


class VisitMetrics:
    """`redirects_total{status}`, how long a redirect takes, and `previews_total{status}`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.redirects = Counter("redirects_total", "Answers to short links.", ["status"], registry=registry)
        self.seconds = Histogram(
            "redirect_duration_seconds", "Time to answer a short link.", buckets=LATENCY_BUCKETS, registry=registry
        )
        self.previews = Counter("previews_total", "Answers to previews of short links.", ["status"], registry=registry)


class Visits:
    """Both, as bare ASGI applications for routes with a `short_code`; `trusted` proxies say who calls."""

    def __init__(
        self, visitors: RedirectHandlers, metrics: VisitMetrics, public_url: str, trusted: Collection[Network] = ()
    ) -> None:
        self._redirects = Redirects(visitors, metrics, trusted)
        self._previews = Previews(visitors, metrics, public_url, trusted)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answers one request."""
        if scope["path_params"]["short_code"].endswith("+"):
            return self._previews(scope, receive, send)
        return self._redirects(scope, receive, send)


class Redirects:
    """The redirect, a warning, or what stands in its place."""

    def __init__(self, visitors: RedirectHandlers, metrics: VisitMetrics, trusted: Collection[Network] = ()) -> None:
        self._visitors = visitors
        self._metrics = metrics
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. This is the path that has to be short."""
        started = time.perf_counter()
        short_code = scope["path_params"]["short_code"]
        try:
            answer = await self._visitors.follow(
                short_code,
                scope["query_string"],
                partial(_takes_click, scope),
                partial(visitor_address, scope, self._trusted),
            )
        except Exception as error:
            response = problem(Request(scope), error)
            status = response.status_code
            await response(scope, receive, send)
        else:
            if answer.location:
                status = answer.status
                headers = [
                    (b"location", answer.location.encode("ascii")),
                    _NOT_STORED,
                    (b"content-length", b"0"),
                ]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
            else:
                response = _in_place(Request(scope), short_code, answer)
                status = response.status_code
                await response(scope, receive, send)
        self._metrics.redirects.labels(str(status)).inc()
        self._metrics.seconds.observe(time.perf_counter() - started)


class Previews:
    """What is told of a link before it is followed."""

    def __init__(
        self, visitors: RedirectHandlers, metrics: VisitMetrics, public_url: str, trusted: Collection[Network] = ()
    ) -> None:
        self._visitors = visitors
        self._metrics = metrics
        self._public_url = public_url
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope)
        short_code = scope["path_params"]["short_code"].removesuffix("+")
        try:
            facts = await self._visitors.preview(short_code, partial(visitor_address, scope, self._trusted))
        except Exception as error:
            response = problem(request, error)
        else:
            response = self._answer(request, short_code, facts)
        await response(scope, receive, send)
        self._metrics.previews.labels(str(response.status_code)).inc()

    def _answer(self, request: Request, short_code: str, facts: Preview | None) -> Response:
        if facts is None:
            return problem(request, LinkNotFound(short_code))
        blocked = facts.state is LinkState.BLOCKED
        if not wants_json(request.headers.get("accept", "")):
            html = preview_page(facts, short_url(self._public_url, facts.short_code))
            return _page(html, 451 if blocked else 200)
        if blocked:
            return problem(request, LinkBlocked(short_code))
        return Response(_facts_json(facts, self._public_url), headers=HEADERS, media_type="application/json")


def _takes_click(scope: Scope) -> bool:
    """Whether the visitor is one of those that links with a number of clicks count; asked for such links only."""
    headers = scope["headers"]
    return scope["method"] != "HEAD" and not is_preview_bot(headers) and not is_speculative(headers)


def _in_place(request: Request, short_code: str, answer: Answer) -> Response:
    """What is answered without a location."""
    if answer.state is LinkState.ACTIVE:
        if not is_speculative(request.scope["headers"]):
            return _page(_HELD)
        # Browsers drop what they have fetched ahead if it failed, and ask again at the click.
        return _page(_HELD, 503, {"retry-after": str(_PREFETCH_RETRY_SECONDS)})
    if answer.state is LinkState.WARNED and not wants_json(request.headers.get("accept", "")):
        return _page(warning_page(answer.doubtful))
    return problem(request, error_of(short_code, answer))


def _page(html: bytes, status: int = 200, more: dict[str, str] | None = None) -> Response:
    return Response(html, status, {**HEADERS, **HTML_HEADERS, **(more or {})}, media_type="text/html")


def _facts_json(facts: Preview, public_url: str) -> bytes:
    """`short_code`, `short_url`, `original_url` if it is told, `state`, `created_at`, `expires_at` if there is one."""
    members = {
        "short_code": facts.short_code,
        "short_url": short_url(public_url, facts.short_code),
        "state": link_service_pb2.LinkState.Name(LINK_STATES[facts.state]),
        "created_at": timestamp(facts.created_at).ToJsonString(),
    }
    if facts.url:
        members["original_url"] = facts.url
    if facts.expires_at is not None:
        members["expires_at"] = timestamp(facts.expires_at).ToJsonString()
    return orjson.dumps(members)
