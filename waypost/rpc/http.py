"""Plain HTTP for a service: a uvicorn server that leaves signals alone, and the metrics port's three pages."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from waypost.rpc.health import Health
from waypost.telemetry import Metrics


class HttpServer(uvicorn.Server):
    """uvicorn for an application, on a socket that is bound already."""

    def __init__(
        self, app: ASGIApp, *, drain_seconds: float, keep_alive: int = 75, max_connections: int = 4096
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                # Who calls is for `waypost.rpc.address` to say, where anybody asks.
                proxy_headers=False,
                # Envoy closes idle connections earlier, so that it never writes into one that we are closing.
                timeout_keep_alive=keep_alive,
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
                limit_concurrency=max_connections,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, not to one of its servers."""
        yield


Page = Callable[[], Mapping[str, object]]
"""Makes the JSON of a page that operators read."""


def metrics_app(health: Health, metrics: Metrics, pages: Mapping[str, Page] = MappingProxyType({})) -> ASGIApp:
    """`/health` (alive), `/ready` (503 while starting or draining), `/metrics` (Prometheus text), `pages` by path."""

    async def alive(_: Request) -> Response:
        return JSONResponse(health.snapshot())

    async def ready(_: Request) -> Response:
        return JSONResponse(health.snapshot(), status_code=200 if health.ready else 503)

    async def scrape(_: Request) -> Response:
        body: Any = generate_latest(metrics.registry)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    def shown(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def show(_: Request) -> Response:
            return JSONResponse(page())

        return show

    own = [Route("/health", alive), Route("/ready", ready), Route("/metrics", scrape)]
    return Starlette(routes=[*own, *(Route(path, shown(page)) for path, page in pages.items())])
