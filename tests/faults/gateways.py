"""Gateways in processes of their own: `python -m gateway` on a private database, with neither edge nor limiter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.keys import PEPPER
from tests.support.mesh import PATIENCE, without_settings
from tests.support.ports import free_ports
from waypost.supervisor.environment import DATABASE_ROLES


@dataclass(eq=False)
class Gateway:
    """A running gateway; `lines`: what it logged so far."""

    process: asyncio.subprocess.Process
    control_port: int
    hot_port: int
    web_port: int
    metrics_port: int
    lines: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _ended: bool = False

    @property
    def address(self) -> str:
        """Its gRPC port, `host:port`."""
        return f"127.0.0.1:{self.control_port}"

    @property
    def hot_address(self) -> str:
        """Its compiled gRPC port, `host:port`."""
        return f"127.0.0.1:{self.hot_port}"

    @property
    def web_url(self) -> str:
        """Where it redirects."""
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def metrics_url(self) -> str:
        """Where it answers about its health."""
        return f"http://127.0.0.1:{self.metrics_port}"

    async def logged(self, event: str) -> dict[str, Any]:
        """Waits for a line of its log."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines if line.get("event") == event), None)

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: found() is not None or self._ended)
        line = found()
        assert line is not None, f"ended before {event!r}: {self.lines[-5:]}"
        return line

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signals it and waits for its end; the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def read(self) -> None:
        """Keeps reading its log, to the end."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            text = raw.decode(errors="replace").rstrip()
            async with self._news:
                self.lines.append(json.loads(text) if text.startswith("{") else {"event": text})
                self._news.notify_all()
        async with self._news:
            self._ended = True
            self._news.notify_all()


@contextlib.asynccontextmanager
async def running_gateway(
    url_of: Callable[[str], str],
    env: Mapping[str, str] | None = None,
    *,
    control_port: int | None = None,
    hot_port: int | None = None,
    ready: bool = True,
) -> AsyncIterator[Gateway]:
    """A gateway, ready unless told otherwise; killed in the end if it still runs. It knows keys by `keys.PEPPER`.

    `url_of`: the address of the database for a role. `control_port`, `hot_port`: the ports of one that has gone, to
    take its place.
    """
    control, hot, web, metrics, nobody = free_ports(5)
    control, hot = control_port or control, hot_port or hot
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "gateway",
        env={
            **without_settings(os.environ),
            "PYTHONUNBUFFERED": "1",
            "WAYPOST_GATEWAY_CONTROL_PORT": str(control),
            "WAYPOST_GATEWAY_HOT_PORT": str(hot),
            "WAYPOST_GATEWAY_WEB_PORT": str(web),
            "WAYPOST_GATEWAY_METRICS_PORT": str(metrics),
            **{name: url_of(role) for name, role in DATABASE_ROLES["gateway"].items()},
            "WAYPOST_KEY_PEPPER": PEPPER,
            "WAYPOST_RATELIMITER_ADDRESS": f"127.0.0.1:{nobody}",
            "WAYPOST_GATEWAY_LOCAL_CREATES_PER_MINUTE": "100000",
            **(env or {}),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    gateway = Gateway(process, control, hot, web, metrics)
    reading = asyncio.create_task(gateway.read())
    try:
        if ready:
            await gateway.logged("ready")
        yield gateway
    except BaseException as error:
        error.add_note("\n".join(json.dumps(line)[:400] for line in gateway.lines[-15:]))
        raise
    finally:
        await gateway.stop(signal.SIGKILL)
        await reading
