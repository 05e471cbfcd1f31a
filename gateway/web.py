"""The web port: redirects, a few pages, and the health addresses of load balancers."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.docs import docs_routes
from gateway.following import RedirectHandlers
from gateway.pages import HTML_HEADERS, Page, message
from gateway.problems import problem
from gateway.visits import VisitMetrics, Visits
from waypost.errors import RouteNotFound
from waypost.rpc.address import Network
from waypost.rpc.health import Health


def web_app(
    visitors: RedirectHandlers,
    health: Health,
    metrics: VisitMetrics,
    public_url: str,
    *,
    anonymous: bool = True,
    trusted: Collection[Network] = (),
) -> ASGIApp:
    """The whole web port. `anonymous`: whether links may be made without a key; `trusted` proxies say who calls."""
    key = "" if anonymous else '-H "x-api-key: $WAYPOST_API_KEY" '
    home = message(
        Page(
            "Waypost",
            "Short links, self-hosted. Make one:",
            code=f'curl -s {key}{public_url}/api/v1/shorten -d \'{{"url": "https://example.com/"}}\'',
        )
    )

    async def front(_: Request) -> Response:
        return Response(home, headers=HTML_HEADERS, media_type="text/html")

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
        answer = problem(request, RouteNotFound(), status)
        answer.headers.update(getattr(error, "headers", None) or {})
        return answer

    pages = [
        Route("/", front),
        Route("/healthz", alive),
        Route("/readyz", ready),
        Route("/favicon.ico", no_icon),
        Route("/robots.txt", robots),
        *docs_routes(),
    ]
    visits = Visits(visitors, metrics, public_url, trusted)
    router = Starlette(
        routes=[
            *pages,
            Route("/{short_code}", visits, methods=["GET"]),
            # Some programs add a slash to whatever they take for a folder.
            Route("/{short_code}/", visits, methods=["GET"]),
        ],
        exception_handlers={404: elsewhere, 405: elsewhere},
    )
    # The router's own way with slashes is a redirect to wherever the Host header says.
    router.router.redirect_slashes = False
    return ShortLinksFirst(visits, router, frozenset(page.path for page in pages))


class ShortLinksFirst:
    """Hands short links to `visits` at once, and all else to the router, which would try one route after the other."""

    def __init__(self, visits: Visits, router: ASGIApp, pages: frozenset[str]) -> None:
        self._visits = visits
        self._router = router
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            path: str = scope["path"]
            if path.rfind("/") == 0 and path not in self._pages:
                scope["path_params"] = {"short_code": path[1:]}
                await self._visits(scope, receive, send)
                return
        await self._router(scope, receive, send)
