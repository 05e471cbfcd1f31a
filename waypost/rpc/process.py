"""A running service: ports open, background tasks running, until it is told to stop; then it drains."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
from starlette.types import ASGIApp

from waypost.access.policies import POLICIES
from waypost.rpc import chain, reflection, tracing
from waypost.rpc.deadlines import Deadline
from waypost.rpc.health import HEALTH_WATCH, Check, Health
from waypost.rpc.hot_process import CompiledHandlers, hot_port
from waypost.rpc.http import HttpServer, Page, metrics_app
from waypost.rpc.methods import MessageCap, MessageCaps, Shortcut, UnaryOnly, endpoint, method_table
from waypost.rpc.ports import listen
from waypost.rpc.server import HEALTH_CHECK, RpcServer, RpcServerOptions
from waypost.settings import ServiceSettings
from waypost.telemetry import Metrics, info_line, watch_loop_lag

# Each channel that looks after its servers asks a hot port for this once for each connection, and takes the answer as
# it is meant: as long as there is the connection, the server is well.
_NO_NEWS = frozenset({(HEALTH_WATCH, grpc.StatusCode.UNIMPLEMENTED)})

# Seconds in which those who watch its health hear that a service leaves, before their streams are cut.
_NOTICE_SECONDS = 0.05

# Seconds for what has been told to end, before it is left behind.
_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """What makes a service: servicers, dependencies, perhaps a web application, and tasks that run beside them.

    A task is a coroutine function that runs until it is cancelled; one that ends or fails ends the process.
    `message_caps`: methods, by full name, whose requests may be larger (or smaller) than `settings.max_message_bytes`,
    with their most bytes. `pages`: more pages of the metrics port, by path. `gate`: what each call passes last before
    its method: who calls, what they may do. `sampled`: methods asked so often that only one call in so many is logged.
    `hot_port`: of a service whose settings are `HotPortSettings`; None: it has none. `compiled`: handlers of its own
    there. `shortcuts`: what answers some calls of a method, by its full name, in the chain but without the servicer.
    """

    name: str
    settings: ServiceSettings
    control_port: int
    metrics_port: int
    servicers: Sequence[object]
    metrics: Metrics
    checks: Sequence[Check] = ()
    web: Callable[[Health], ASGIApp] | None = None
    web_port: int = 0
    tasks: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    on_ports: Callable[[Ports], None] | None = None
    message_caps: Mapping[str, MessageCap] = field(default_factory=dict)
    pages: Mapping[str, Page] = field(default_factory=dict)
    gate: Sequence[chain.Middleware] = ()
    sampled: Mapping[str, int] = field(default_factory=dict)
    hot_port: int | None = None
    compiled: CompiledHandlers | None = None
    shortcuts: Mapping[str, Shortcut] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that a service listens on; `web` and `hot` are 0 when it has none."""

    control: int
    metrics: int
    web: int
    hot: int = 0


async def serve(service: Service) -> None:
    """Serves until SIGTERM, SIGINT or `service.stop`, then drains.

    Draining: not ready → no new calls → those in flight finish, at most `drain_seconds` → ports closed. A second signal
    ends it at once. Raises `PortInUse` before anything runs, `RuntimeError` when a background task ended by itself.
    """
    # First: who is told to stop while still starting shall end as properly as later.
    _stop_on_signals(service.stop)
    running = _Running(service)
    try:
        await running.start()
        failed = await running.wait()
        await running.drain(0.0 if failed else service.settings.drain_delay_seconds)
    finally:
        await running.close()
    if failed:
        raise RuntimeError(f"background task {failed.get_name()} ended") from (
            None if failed.cancelled() else failed.exception()
        )


class _Running:
    """A service's ports and tasks, from `start` to `close`."""

    def __init__(self, service: Service) -> None:
        settings, metrics = service.settings, service.metrics
        self._service = service
        self._log = structlog.get_logger()
        self._services = method_table(service.servicers).services
        self._health = Health(service.name, self._services, service.checks, metrics)
        table = method_table([*service.servicers, self._health.servicer])
        # Whether it can be watched or not, a port that is full is to be told from one that is dead.
        quiet = frozenset({HEALTH_CHECK, HEALTH_WATCH})
        caps = MessageCaps(settings.max_message_bytes, service.message_caps)
        self._admission = chain.Admission(settings.max_in_flight, metrics, exempt=quiet)
        handler = chain.build(
            [
                *tracing.middleware({*quiet, *service.sampled}),
                chain.Observe(
                    [
                        chain.log_calls(self._log, quiet, service.sampled, info_line, _NO_NEWS),
                        chain.count_calls(metrics, frozenset(table.unary)),
                    ]
                ),
                chain.Errors(),
                self._admission,
                Deadline(
                    settings.default_deadline_ms / 1000,
                    settings.max_deadline_ms / 1000,
                    {name: policy.seconds for name, policy in POLICIES.items()},
                ),
                UnaryOnly([*table.streaming, reflection.METHOD]),
                *service.gate,
            ],
            endpoint(table, caps, service.shortcuts),
        )
        self._rpc = RpcServer(
            table,
            handler,
            RpcServerOptions(
                host=settings.host,
                port=service.control_port,
                max_message_bytes=caps.largest,
                message_seconds=settings.default_deadline_ms / 1000,
            ),
        )
        self._hot = hot_port(
            settings,
            service.name,
            service.hot_port,
            handler,
            largest=caps.largest,
            health=self._health,
            metrics=metrics,
            compiled=service.compiled,
        )
        self._metrics_server = HttpServer(metrics_app(self._health, metrics, service.pages), drain_seconds=1)
        self._web_server = (
            HttpServer(service.web(self._health), drain_seconds=settings.drain_seconds) if service.web else None
        )
        self._sockets: list[socket.socket] = []
        self._http: dict[HttpServer, asyncio.Task[None]] = {}
        self._background: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Opens all ports, or none and raises `PortInUse`; starts the tasks."""
        service, host = self._service, self._service.settings.host
        metrics_socket = self._listen(host, service.metrics_port)
        web_socket = self._listen(host, service.web_port) if self._web_server else None
        await self._health.begin()
        await self._rpc.start()
        if self._hot:
            await self._hot.server.start()
        self._begin_http(self._metrics_server, metrics_socket)
        if self._web_server and web_socket:
            self._begin_http(self._web_server, web_socket)
        for task in service.tasks:
            self._begin(task(), getattr(task, "__qualname__", repr(task)))
        self._begin(self._health.run(), "health")
        self._begin(self._rpc.run(), "control port")
        self._begin(watch_loop_lag(service.metrics.loop_lag), "loop lag")
        if self._hot:
            self._begin(self._hot.beat(), "heartbeat")
        # What start-up made lives for good: the collector need not walk it again and again.
        gc.freeze()
        ports = Ports(
            self._rpc.port,
            metrics_socket.getsockname()[1],
            web_socket.getsockname()[1] if web_socket else 0,
            self._hot.server.port if self._hot else 0,
        )
        self._log.info(
            "serving",
            control=ports.control,
            metrics=ports.metrics,
            web=ports.web,
            hot=self._hot.server.address if self._hot else "",
            rpc_services=self._services,
        )
        if service.on_ports:
            service.on_ports(ports)

    async def wait(self) -> asyncio.Task[Any] | None:
        """Until the service is told to stop (None), or a task ended that should not have (that one)."""
        stopping = asyncio.create_task(self._service.stop.wait(), name="stop")
        watched = [*self._background, *self._http.values()]
        try:
            await asyncio.wait([stopping, *watched], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return next((task for task in watched if task.done()), None)

    async def drain(self, delay: float) -> None:
        """Says that it is not ready, serves on for `delay` seconds, refuses new calls, lets those in flight finish."""
        await self._health.drain()
        self._log.info("draining", in_flight=self._admission.in_flight)
        # Balancers need a moment to see that this one is leaving; calls are still served meanwhile.
        await asyncio.sleep(max(delay, _NOTICE_SECONDS))
        if self._hot:
            # Its clients go when they are asked to; what they sent before they heard of it is still served.
            await self._hot.server.leave()
            await asyncio.sleep(_NOTICE_SECONDS)
        self._admission.refuse_new()
        if self._service.compiled:
            self._service.compiled.pass_up()
        if self._web_server:
            self._web_server.should_exit = True
        await self._stop_rpc(self._service.settings.drain_seconds)
        if self._web_server:
            await asyncio.wait([self._http[self._web_server]])
        # Last, so that the state of the drain can be read to its end.
        self._metrics_server.should_exit = True
        await asyncio.wait([self._http[self._metrics_server]])
        self._log.info("drained", in_flight=self._admission.in_flight)

    async def close(self) -> None:
        """Ends whatever still runs, however far it came."""
        for server in (self._metrics_server, self._web_server):
            if server:
                server.should_exit = server.force_exit = True
        for task in self._background:
            task.cancel()
        await self._stop_rpc(0.0)
        if tasks := [*self._background, *self._http.values()]:
            _, left = await asyncio.wait(tasks, timeout=_END_SECONDS)
            for task in left:
                self._log.error("task does not end", task=task.get_name())
        for sock in self._sockets:
            sock.close()
        # Where the process outlives its service, what it was made of can be let go of.
        gc.unfreeze()

    async def _stop_rpc(self, grace: float) -> None:
        stops = [self._rpc.stop(grace, self._admission.wait_idle)]
        if self._hot:
            stops.append(self._hot.server.stop(grace, self._admission.wait_idle))
        await asyncio.gather(*stops)

    def _listen(self, host: str, port: int) -> socket.socket:
        sock = listen(host, port)
        self._sockets.append(sock)
        return sock

    def _begin(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        self._background.append(asyncio.create_task(work, name=name))

    def _begin_http(self, server: HttpServer, sock: socket.socket) -> None:
        self._http[server] = asyncio.create_task(server.serve(sockets=[sock]), name="http")


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            # Also what was to be written at the end of this turn goes out with it.
            structlog.get_logger().warning("told to stop twice; the process is left by force")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, on_signal)
        except (ValueError, RuntimeError):
            # Not in the main thread: whoever runs us there sets `stop` itself.
            return
