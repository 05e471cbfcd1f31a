"""A service's hot port in its process: made where it can be, with a health check that knows if Python runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

import native
from waypost.rpc import chain, tracing
from waypost.rpc.health import Health
from waypost.rpc.hot_settings import HotPortSettings
from waypost.settings import ServiceSettings
from waypost.telemetry import Metrics

if TYPE_CHECKING:  # which may not have been built
    from native._health import HealthAnswers
    from native._server import Server
    from waypost.rpc.hot_server import HotServer

# Seconds between two beats of the event loop, and after which silence a compiled health check says NOT_SERVING.
_BEAT_SECONDS = 0.5
_SILENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class CompiledHandlers:
    """What answers some methods of a hot port without Python.

    `register` is called before the port opens; from `pass_up` on everything is left to the chain, which refuses it.
    """

    register: Callable[[Server], None]
    pass_up: Callable[[], None]


class HotPort:
    """The server, its metrics, and its compiled health check."""

    def __init__(self, server: HotServer, health: Health, metrics: Metrics) -> None:
        from native._health import HealthAnswers
        from waypost.rpc.hot_metrics import HotPortMetrics

        self.server = server
        self._heart: HealthAnswers = HealthAnswers(health.names, seconds=_SILENCE_SECONDS, traced=tracing.enabled())
        self._heart.register(server.transport)
        health.follow(self._heart.set)
        metrics.registry.register(HotPortMetrics(server.transport))

    async def beat(self) -> None:
        """Says again and again, for ever, that the event loop runs."""
        while True:
            self._heart.beat()
            await asyncio.sleep(_BEAT_SECONDS)


def hot_port(
    settings: ServiceSettings,
    name: str,
    port: int | None,
    handler: chain.Handler,
    *,
    largest: int,
    health: Health,
    metrics: Metrics,
    compiled: CompiledHandlers | None,
) -> HotPort | None:
    """The hot port of the service `name`; None where it has none, or none was built, which is said.

    `largest`: most bytes of a request; `compiled`: handlers of the service's own.
    """
    if port is None or not isinstance(settings, HotPortSettings) or not settings.hot_ports:
        return None
    if not native.HOT_PORT:
        structlog.get_logger().warning(
            "no hot port",
            detail=f"the hot port {native.WHY_NO_HOT_PORT}: its calls are served on the control port, slower. To have "
            "it: apt install libnghttp2-dev pkg-config gcc python3-dev, then make setup",
        )
        return None
    from waypost.rpc.hot_server import HotServer

    server = HotServer(handler, settings.hot_options(name, port, largest))
    if compiled:
        compiled.register(server.transport)
    return HotPort(server, health, metrics)
