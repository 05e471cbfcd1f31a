"""What a service knows of its own health: a phase of life and its dependencies, checked in the background.

Asking never waits for a dependency: the answer is what the last check found. A dependency that is away makes a service
`degraded`, which still serves; only starting and draining make it not ready. Liveness looks at nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import structlog
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health import aio as health_aio

from waypost.telemetry import Metrics

HEALTH_WATCH = f"/{health.SERVICE_NAME}/Watch"
"""The stream by which clients look after the servers of their channels (gRFC A17)."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# Seconds between two checks while a service is starting.
_START_INTERVAL = 0.1
# For how long a dependency that the service can do without is looked at so often.
_START_SECONDS = 10.0


class Phase(StrEnum):
    """Where a service is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Check:
    """A dependency: `probe` raises when it is away. `required`: not ready before it answered once.

    `interval` and `timeout` in seconds. `detail` says more of what is in use, for `/ready`.
    """

    name: str
    probe: Callable[[], Awaitable[None]]
    required: bool = True
    interval: float = 1.0
    timeout: float = 1.0
    detail: Callable[[], str] | None = None


@dataclass(slots=True)
class _Finding:
    up: bool = False
    seen_up: bool = False
    error: str = "not checked yet"
    checked_at: str | None = None


class Health:
    """Keeps what the checks find and tells it to `grpc.health.v1`, to `/ready` and to the metrics."""

    def __init__(self, service: str, rpc_services: Sequence[str], checks: Sequence[Check], metrics: Metrics) -> None:
        self._service = service
        self._rpc_services = ("", *rpc_services)
        self._checks = checks
        self._metrics = metrics
        self._findings = {check.name: _Finding() for check in checks}
        self._log = structlog.get_logger()
        self._followers: list[Callable[[str, bool], None]] = []
        self.phase = Phase.STARTING
        self.servicer = health_aio.HealthServicer()

    @property
    def names(self) -> tuple[str, ...]:
        """What `grpc.health.v1` can be asked about: the server itself, its services, and what they depend on."""
        return (*self._rpc_services, *self._findings)

    def follow(self, tell: Callable[[str, bool], None]) -> None:
        """Has `tell` called with each news of one of the `names`, and whether it serves."""
        self._followers.append(tell)

    @property
    def status(self) -> str:
        """`starting`, `ok`, `degraded` or `draining`."""
        if self.phase is not Phase.SERVING:
            return self.phase.value
        return "ok" if all(finding.up for finding in self._findings.values()) else "degraded"

    @property
    def ready(self) -> bool:
        """Whether calls should be sent here."""
        return self.phase is Phase.SERVING

    def snapshot(self) -> dict[str, Any]:
        """What `/ready` shows: `status`, `timestamp`, `service`, `checks` by name."""
        return {
            "status": self.status,
            "timestamp": datetime.now(UTC).isoformat(),
            "service": self._service,
            "checks": {check.name: self._shown(check) for check in self._checks},
        }

    def _shown(self, check: Check) -> dict[str, Any]:
        finding = self._findings[check.name]
        return {
            "status": "ok" if finding.up else "down",
            "checked_at": finding.checked_at,
            **({} if finding.up else {"error": finding.error}),
            **({} if check.detail is None else {"detail": check.detail()}),
        }

    async def begin(self) -> None:
        """Says `NOT_SERVING` of all it will speak of. Before the port opens: grpcio's servicer begins with a yes."""
        await self._publish()
        for check in self._checks:
            self._metrics.dependency_up.labels(check.name).set(0)
            await self._publish_one(check.name, False)

    async def run(self) -> None:
        """Checks every dependency for ever. The start ends when the required ones answered and the rest was asked."""
        await self._advance()
        async with asyncio.TaskGroup() as group:
            for check in self._checks:
                group.create_task(self._watch(check))
            # A service without dependencies has nothing to watch, but is no less alive.
            group.create_task(asyncio.Event().wait())

    async def drain(self) -> None:
        """No longer ready, for good."""
        self.phase = Phase.DRAINING
        # A watcher that does not read holds the servicer's lock; stopping does not wait for it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._publish()

    async def _watch(self, check: Check) -> None:
        probe: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            while True:
                # One that neither answers nor heeds its cancellation is waited for, not joined by others.
                if probe is None or probe.done():
                    probe = asyncio.create_task(_probe(check), name=f"probe of {check.name}")
                await asyncio.wait([probe], timeout=check.timeout)
                if not probe.done():
                    probe.cancel()
                await self._found(check.name, _error(probe, check.timeout))
                await asyncio.sleep(self._pause(check, loop.time() - began))
        finally:
            if probe is not None:
                probe.cancel()

    def _pause(self, check: Check, seconds: float) -> float:
        """Seconds to the next look, `seconds` after the first."""
        # Until it is up for the first time somebody is waiting for the service, and a while for what it can do without.
        starting = self.phase is Phase.STARTING or (seconds < _START_SECONDS and not self._findings[check.name].seen_up)
        return min(check.interval, _START_INTERVAL) if starting else check.interval

    async def _found(self, name: str, error: str) -> None:
        finding = self._findings[name]
        up = not error
        news = finding.checked_at is None or finding.up is not up
        finding.up, finding.seen_up, finding.error = up, finding.seen_up or up, error
        finding.checked_at = datetime.now(UTC).isoformat()
        self._metrics.dependency_up.labels(name).set(up)
        if news:
            write = self._log.info if up else self._log.warning
            write("dependency up" if up else "dependency down", dependency=name, error=error)
            await self._publish_one(name, up)
        await self._advance()

    async def _advance(self) -> None:
        # What it can do without has been looked at, at least: who is told of a start is told the truth.
        if self.phase is Phase.STARTING and all(
            self._findings[check.name].seen_up if check.required else self._findings[check.name].checked_at is not None
            for check in self._checks
        ):
            self.phase = Phase.SERVING
            self._log.info("ready", status=self.status)
            await self._publish()

    async def _publish(self) -> None:
        for name in self._rpc_services:
            await self._publish_one(name, self.ready)

    async def _publish_one(self, name: str, up: bool) -> None:
        for tell in self._followers:
            tell(name, up)
        await self.servicer.set(name, _SERVING if up else _NOT_SERVING)


async def _probe(check: Check) -> None:
    await check.probe()


def _error(probe: asyncio.Task[None], timeout: float) -> str:
    """What is wrong with the dependency; empty: nothing."""
    if not probe.done():
        return f"no answer within {timeout:g} s"
    if probe.cancelled():
        return "the check was cancelled"
    error = probe.exception()
    return "" if error is None else str(error) or type(error).__name__
