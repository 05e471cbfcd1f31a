"""A service's process: settings in, ports open, background tasks running, until it is told to stop; then it drains."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
import uvloop
from starlette.types import ASGIApp

from waypost.rpc import chain
from waypost.rpc.health import Check, Health
from waypost.rpc.http import HttpServer, listen, metrics_app
from waypost.rpc.server import HEALTH_CHECK, PortInUse, RpcServer, RpcServerOptions, endpoint, method_table
from waypost.setting_names import SETTING_NAMES
from waypost.settings import BadSettings, ServiceSettings, reserved_in_use
from waypost.telemetry import Metrics, configure_logging, watch_loop_lag

S = TypeVar("S", bound=ServiceSettings)

EXIT_SETTINGS = 2


def main(name: str, settings_class: type[S], run: Callable[[S], Awaitable[None]]) -> int:
    """Runs a service to its end; the exit code: 0 told to stop, 1 failed, 2 bad setting or taken port."""
    try:
        settings = settings_class.from_env(os.environ, SETTING_NAMES)
    except BadSettings as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - before there is a logger
        return EXIT_SETTINGS
    configure_logging(name, settings.log_level)
    log = structlog.get_logger()
    for sentence in reserved_in_use(os.environ):
        log.warning("setting without effect", detail=sentence)
    try:
        uvloop.run(_run(run, settings))
    except (BadSettings, PortInUse) as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - for people, as the line above
        return EXIT_SETTINGS
    except Exception:
        log.exception("failed")
        return 1
    return 0


async def _run(run: Callable[[S], Awaitable[None]], settings: S) -> None:
    await run(settings)


@dataclass(frozen=True, slots=True)
class Service:
    """What makes a service: servicers, dependencies, perhaps a web application, and tasks that run beside them.

    A task is a coroutine function that runs until it is cancelled; one that ends or fails ends the process.
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
    stop: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that a service listens on; `web` is 0 when it has none."""

    control: int
    metrics: int
    web: int


async def serve(service: Service) -> None:
    """Serves until SIGTERM, SIGINT or `service.stop`, then drains.

    Draining: not ready → no new calls → those in flight finish, at most `drain_seconds` → ports closed. A second signal
    ends it at once. Raises `PortInUse` before anything runs.
    """
    settings, metrics = service.settings, service.metrics
    log = structlog.get_logger()
    bare = method_table(service.servicers)
    health = Health(service.name, bare.services, service.checks, metrics)
    table = method_table([*service.servicers, health.servicer])
    quiet = frozenset({HEALTH_CHECK})
    admission = chain.Admission(settings.max_in_flight, metrics, exempt=quiet)
    handler = chain.build(
        [
            chain.Observe([chain.log_calls(log, quiet), chain.count_calls(metrics, frozenset(table.unary))]),
            chain.Errors(),
            admission,
            chain.Deadline(settings.default_deadline_ms / 1000, settings.max_deadline_ms / 1000),
        ],
        endpoint(table),
    )
    async with AsyncExitStack() as stack:
        metrics_socket = stack.enter_context(listen(settings.host, service.metrics_port))
        web_socket = stack.enter_context(listen(settings.host, service.web_port)) if service.web else None
        rpc = RpcServer(
            table,
            handler,
            RpcServerOptions(
                host=settings.host, port=service.control_port, max_message_bytes=settings.max_message_bytes
            ),
        )
        await rpc.start()
        servers = [(HttpServer(metrics_app(health, metrics), drain_seconds=1), metrics_socket)]
        if service.web and web_socket:
            servers.append((HttpServer(service.web(health), drain_seconds=settings.drain_seconds), web_socket))
        ports = Ports(rpc.port, metrics_socket.getsockname()[1], web_socket.getsockname()[1] if web_socket else 0)
        background = [asyncio.create_task(task(), name=task.__qualname__) for task in service.tasks]
        background.append(asyncio.create_task(health.run(), name="health"))
        background.append(asyncio.create_task(watch_loop_lag(metrics.loop_lag), name="loop_lag"))
        http = [asyncio.create_task(server.serve(sockets=[sock]), name="http") for server, sock in servers]
        stopping = asyncio.create_task(service.stop.wait(), name="stop")
        _stop_on_signals(service.stop)
        # What start-up made lives for good: the collector need not walk it again and again.
        gc.freeze()
        log.info("serving", control=ports.control, metrics=ports.metrics, web=ports.web, rpc_services=bare.services)
        if service.on_ports:
            service.on_ports(ports)
        done, _ = await asyncio.wait([stopping, *background, *http], return_when=asyncio.FIRST_COMPLETED)

        await health.drain()
        log.info("draining", in_flight=admission.in_flight)
        if stopping in done and settings.drain_delay_seconds:
            # Balancers need a moment to see that this one is leaving; calls are still served meanwhile.
            await asyncio.sleep(settings.drain_delay_seconds)
        for server, _ in servers[1:]:
            server.should_exit = True
        await rpc.stop(settings.drain_seconds, admission.wait_idle)
        for server, _ in servers:
            server.should_exit = True
        await asyncio.wait(http)
        stopping.cancel()
        for task in background:
            task.cancel()
        results = await asyncio.gather(*background, return_exceptions=True)
        log.info("stopped", in_flight=admission.in_flight)
        for task, result in zip(background, results, strict=True):
            if task in done:
                raise RuntimeError(f"background task {task.get_name()} ended") from (
                    result if isinstance(result, BaseException) else None
                )


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, on_signal)
        except (ValueError, RuntimeError):
            # Not in the main thread: whoever runs us there sets `stop` itself.
            return
