"""The servers that are measured, each as a process of its own: Redis, our rate limiter, the reference."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import native
from bench.cores import GENERATOR, SERVER, on_core
from bench.programs import NoProgram
from bench.results import ROOT

PEER_FOLDER = ROOT / "bench" / "peers" / "ratelimit"
RULES = PEER_FOLDER / "config"
"""The rule file that both rate limiters decide by."""

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: `host:port` of what is called on it, and its process.

    `metrics`: where they are, if it is ours. `family`: what the processes below it use is its own.
    """

    address: str
    pid: int
    metrics: str = ""
    family: bool = False


@contextmanager
def redis_server() -> Iterator[Server]:
    """A Redis of this run's own, with nothing written to disk, on the generator's core. Raises `NoProgram`."""
    program = shutil.which("redis-server")
    if program is None:
        raise NoProgram("there is no redis-server here")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="waypost-bench-redis-") as folder:
        command = [
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--loglevel",
            "warning",
            "--dir",
            folder,
        ]
        with _running(command, {}, GENERATOR) as process:
            _wait(process, lambda: _answers_ping(port), "redis-server")
            yield Server(f"127.0.0.1:{port}", process.pid)


@contextmanager
def ratelimiter(redis: Server | None = None, *, hot: bool = False, store_timeout_ms: int = 10) -> Iterator[Server]:
    """Our rate limiter, its control port to be called, or its hot one.

    With `redis` it decides strictly, and waits for it at most so long; without it locally. Raises `NoProgram` where no
    hot port was built.
    """
    ports = _OurPorts.free(hot=hot)
    settings = {
        "WAYPOST_LIMITS_DIR": str(RULES),
        # Two counters for each of the most keys, and room beside.
        "WAYPOST_LIMITS_TABLE_CAPACITY": "1000000",
        "WAYPOST_RATELIMITER_CONTROL_PORT": str(ports.control),
        "WAYPOST_RATELIMITER_HOT_PORT": str(ports.hot),
        "WAYPOST_RATELIMITER_METRICS_PORT": str(ports.metrics),
        "WAYPOST_LOG_LEVEL": "warning",
    }
    if redis is not None:
        settings["WAYPOST_REDIS_URL"] = f"redis://{redis.address}/0"
        settings["WAYPOST_RATELIMITER_STORE_TIMEOUT_MS"] = str(store_timeout_ms)
    with _running([sys.executable, "-m", "ratelimiter"], settings, SERVER) as process:
        _wait(process, ports.ready, "the rate limiter")
        yield ports.server(process, hot=hot)


@contextmanager
def small_service(key: str, *, hot: bool = False) -> Iterator[Server]:
    """A service that does next to nothing (bench.small_service), which logs as in production, to nowhere.

    `key`: the API key that it knows. Raises `NoProgram` where no hot port was built.
    """
    ports = _OurPorts.free(hot=hot)
    numbers = map(str, (ports.control, ports.hot, ports.metrics))
    command = [sys.executable, "-m", "bench.small_service", *numbers, key]
    with _running(command, {"WAYPOST_LOG_LEVEL": "info"}, SERVER, keep=False) as process:
        _wait(process, ports.ready, "the small service")
        yield ports.server(process, hot=hot)


@dataclass(frozen=True, slots=True)
class _OurPorts:
    control: int
    hot: int
    metrics: int

    @classmethod
    def free(cls, *, hot: bool) -> _OurPorts:
        """Free ones; raises `NoProgram` if `hot` is needed and was not built."""
        if hot and not native.HOT_PORT:
            raise NoProgram("no hot port was built (apt install libnghttp2-dev pkg-config gcc python3-dev; make setup)")
        return cls(_free_port(), _free_port(), _free_port())

    def ready(self) -> bool:
        return _is_ok(f"http://127.0.0.1:{self.metrics}/ready")

    def server(self, process: subprocess.Popen[bytes], *, hot: bool) -> Server:
        port = self.hot if hot else self.control
        return Server(f"127.0.0.1:{port}", process.pid, f"http://127.0.0.1:{self.metrics}/metrics")


@contextmanager
def grpcio_alone(*, echo: bool = False) -> Iterator[Server]:
    """A grpcio server that answers without looking, on uvloop like ours; `echo`: with what it was sent."""
    port = _free_port()
    command = [sys.executable, "-m", "bench.grpcio_alone", str(port), *(["echo"] if echo else [])]
    with _running(command, {}, SERVER) as process:
        _wait(process, lambda: _accepts(port), "grpcio alone")
        yield Server(f"127.0.0.1:{port}", process.pid)


@contextmanager
def sink() -> Iterator[Server]:
    """A port on the server's core that takes what it is sent and says nothing (bench.sink)."""
    port = _free_port()
    with _running([sys.executable, "-m", "bench.sink", str(port)], {}, SERVER) as process:
        _wait(process, lambda: _accepts(port), "the sink")
        yield Server(f"127.0.0.1:{port}", process.pid)


@contextmanager
def transport_alone(program: Path) -> Iterator[Server]:
    """The hot port's transport without Python, as the program of `programs.transport`: it says back what it is sent."""
    port = _free_port()
    with _running([str(program), str(port)], {}, SERVER) as process:
        _wait(process, lambda: _accepts(port), "the transport alone")
        yield Server(f"127.0.0.1:{port}", process.pid)


@contextmanager
def reference(program: Path, redis: Server, more: Mapping[str, str] | None = None) -> Iterator[Server]:
    """envoyproxy/ratelimit, its gRPC port to be called; `more` settings on top of those in its folder."""
    web, grpc, debug, metrics = (_free_port() for _ in range(4))
    settings = {
        **peer_settings(),
        "PORT": str(web),
        "GRPC_PORT": str(grpc),
        "DEBUG_PORT": str(debug),
        "PROMETHEUS_ADDR": f"127.0.0.1:{metrics}",
        "REDIS_URL": redis.address,
        "RUNTIME_ROOT": str(PEER_FOLDER),
        **(more or {}),
    }
    with _running([str(program)], settings, SERVER) as process:
        _wait(process, lambda: _is_ok(f"http://127.0.0.1:{web}/healthcheck"), "envoyproxy/ratelimit")
        yield Server(f"127.0.0.1:{grpc}", process.pid)


def peer_settings() -> dict[str, str]:
    """The reference's settings that are the same in every run, from settings.env in its folder."""
    lines = (PEER_FOLDER / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextmanager
def _running(
    command: Sequence[str], settings: Mapping[str, str], core: int, *, keep: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on `core` with none of this machine's Waypost settings.

    What it wrote is a note on an error within, unless it is not to be kept.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")} | dict(settings)
    with tempfile.TemporaryFile() as output:
        with on_core(core):
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdout=output if keep else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        except Exception as error:
            output.seek(0)
            if written := output.read().decode(errors="replace").strip():
                error.add_note(f"{Path(command[0]).name} {process.pid} wrote: …{written[-2000:]}")
            raise
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class NotStarted(Exception):
    """A server did not come up; `str()` says which."""


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], name: str) -> None:
    until = time.monotonic() + _START_SECONDS
    while not ready():
        if process.poll() is not None:
            raise NotStarted(f"{name} ended with {process.returncode}")
        if time.monotonic() > until:
            raise NotStarted(f"{name} is not ready after {_START_SECONDS:.0f} s")
        time.sleep(0.02)


def _is_ok(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def commands_so_far(redis: Server) -> int:
    """How many commands a Redis has carried out."""
    host, _, port = redis.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"INFO stats\r\nQUIT\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    found = re.search(r"^total_commands_processed:(\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
