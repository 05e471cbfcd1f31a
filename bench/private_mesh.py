"""A mesh of a benchmark's own: free ports, its own folder, no limits, pinned to core 0 where there are two."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.servers import NotStarted
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.database import EmbeddedDatabase
from waypost.supervisor.settings import SupervisorSettings

WAYPOST = Path(sys.executable).with_name("waypost")

# What is measured is the way, not the limit: it is asked all the same, and always says yes.
_LIMITS = """
domain: waypost
descriptors:
  - key: route_class
    descriptors:
      - key: remote_address
        rate_limit: {unit: second, requests_per_unit: 4000000000}
      - key: principal
        rate_limit: {unit: second, requests_per_unit: 4000000000}
"""


@dataclass(frozen=True, slots=True)
class PrivateMesh:
    """A running mesh: its settings as environment variables, its folder and its supervisor's process id."""

    env: dict[str, str]
    folder: Path
    pid: int

    def port(self, name: str) -> int:
        """The port of a setting: `WAYPOST_HTTP_PORT` and so on."""
        return int(self.env[name])

    @property
    def data(self) -> DataDir:
        """Its data directory."""
        return DataDir(self.folder / "data")

    @property
    def key(self) -> str:
        """The operator's key, for `x-api-key`."""
        return self.data.operator_key.read_text().strip()

    def owner_dsn(self) -> str:
        """The address of its database for the owner, who may do everything."""
        return EmbeddedDatabase(SupervisorSettings.from_env({}), self.data).owner_url()


def prepare(folder: Path) -> dict[str, str]:
    """The settings of a mesh that is to live in `folder`."""
    folder.chmod(0o755)
    limits = folder / "limits"
    limits.mkdir()
    (limits / "waypost.yaml").write_text(_LIMITS)
    ports = {info.env: str(_free_port()) for info in SupervisorSettings.infos() if info.field.endswith("_port")}
    return {
        **os.environ,
        **ports,
        "WAYPOST_DATA_DIR": str(folder / "data"),
        "WAYPOST_LIMITS_DIR": str(limits),
        "WAYPOST_LOG_LEVEL": "warning",
    }


@contextmanager
def started(env: dict[str, str], folder: Path) -> Iterator[PrivateMesh]:
    """Starts the mesh, and stops it at the end."""
    pin = ["taskset", "--cpu-list", "0"] if len(os.sched_getaffinity(0)) > 1 and shutil.which("taskset") else []
    process = subprocess.Popen(
        [*pin, WAYPOST, "up"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    try:
        for line in process.stdout:
            if line.startswith("waypost: ready"):
                break
        else:
            raise NotStarted(f"waypost up ended with {process.wait()}")
        yield PrivateMesh(env, folder, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def private_mesh() -> Iterator[PrivateMesh]:
    """A mesh in a folder that is gone afterwards; this process is pinned to core 1."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-"))
    try:
        with started(prepare(folder), folder) as mesh:
            pin_generator()
            yield mesh
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pin_generator() -> None:
    """Keeps this process off the mesh's core."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})


def memory(pid: int) -> list[tuple[str, float]]:
    """MiB by process; PostgreSQL's shared pages are counted once (proportional set size)."""
    rows: dict[str, float] = {}
    for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        name = process_name(process)
        rows[name] = rows.get(name, 0.0) + process.memory_full_info().pss / 1_048_576
    return sorted(rows.items())


def process_name(process: psutil.Process) -> str:
    """What a process of the mesh is: gateway, envoy, postgres and so on."""
    line = " ".join(process.cmdline())
    return (
        next((n for n in ("gateway", "ratelimiter", "workers") if f"-m {n}" in line), None)
        or ("envoy" if "envoy" in line and "config-path" in line else None)
        or ("postgres" if "postgres" in line else "guardian" if "guardian" in line else "supervisor")
    )


def spread(values: Sequence[float], form: str) -> str:
    """The median with the least and the most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of so many runs of `work`."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
