"""Creates and redirects through Envoy of a mesh of its own: `python -m bench.mesh [--connections 16] [--seconds 5]`.

The mesh runs on core 0, the generator on core 1, where there are two. Each figure is the median of the runs with their
spread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import uvloop

from bench import load
from waypost.supervisor.settings import SupervisorSettings

WAYPOST = Path(sys.executable).with_name("waypost")


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-"))
    folder.chmod(0o755)
    try:
        _bench(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bench(folder: Path, options: argparse.Namespace) -> None:
    limits = folder / "limits"
    limits.mkdir()
    # What is measured is the way, not the limit: it is asked all the same, and always says yes.
    (limits / "waypost.yaml").write_text(
        "domain: waypost\ndescriptors:\n  - key: route_class\n    value: create\n    descriptors:\n"
        "      - key: remote_address\n        rate_limit: {unit: second, requests_per_unit: 4000000000}\n"
    )
    ports = {info.env: str(_free_port()) for info in SupervisorSettings.infos() if info.field.endswith("_port")}
    env = {**os.environ, **ports, "WAYPOST_DATA_DIR": str(folder / "data"), "WAYPOST_LIMITS_DIR": str(limits)}
    env["WAYPOST_LOG_LEVEL"] = "warning"
    cold = time.perf_counter()
    mesh = _start(env)
    cold = time.perf_counter() - cold
    mesh.send_signal(signal.SIGTERM)
    mesh.wait()
    warm = time.perf_counter()
    mesh = _start(env)
    warm = time.perf_counter() - warm
    print(f"start with an empty data directory {cold:.2f} s, with a full one {warm:.2f} s")
    try:
        if len(os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, {1})
        port = int(ports["WAYPOST_HTTP_PORT"])
        _measure("creates", port, options, _creates(port))
        _measure("redirects", port, options, _redirects(port))
        for name, megabytes in _memory(mesh.pid):
            print(f"memory  {name:<12} {megabytes:6.1f} MiB")
    finally:
        mesh.send_signal(signal.SIGTERM)
        mesh.wait()


def _start(env: dict[str, str]) -> subprocess.Popen[str]:
    pin = ["taskset", "--cpu-list", "0"] if len(os.sched_getaffinity(0)) > 1 and shutil.which("taskset") else []
    mesh = subprocess.Popen(
        [*pin, WAYPOST, "up"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert mesh.stdout
    for line in mesh.stdout:
        if line.startswith("waypost: ready"):
            return mesh
    raise SystemExit(f"waypost up ended with {mesh.wait()}")


def _measure(name: str, port: int, options: argparse.Namespace, requests: Iterator[bytes]) -> None:
    rates, p50, p99 = [], [], []
    statuses: dict[int, int] = {}
    for _ in range(options.runs):
        result = uvloop.run(load.run("127.0.0.1", port, options.connections, options.seconds, lambda: next(requests)))
        rates.append(result.per_second)
        p50.append(result.quantile(0.50) * 1000)
        p99.append(result.quantile(0.99) * 1000)
        for status, count in result.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    print(
        f"{name:<10} {_spread(rates, '.0f')} /s   p50 {_spread(p50, '.2f')} ms   p99 {_spread(p99, '.2f')} ms   "
        f"statuses {statuses}"
    )


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def _creates(port: int) -> Iterator[bytes]:
    for number in itertools.count():
        body = json.dumps({"url": f"https://example.com/{number}?x={random.random()}"}).encode()
        yield (
            b"POST /api/v1/shorten HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % (port, len(body)) + body
        )


def _redirects(port: int) -> Iterator[bytes]:
    codes = []
    for number in range(1000):
        request = Request(
            f"http://127.0.0.1:{port}/api/v1/shorten",
            data=json.dumps({"url": f"https://example.com/{number}"}).encode(),
            headers={"content-type": "application/json"},
        )
        with urlopen(request) as response:
            codes.append(json.load(response)["short_code"])
    return (
        f"GET /{random.choice(codes)} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode() for _ in itertools.count()
    )


def _memory(pid: int) -> list[tuple[str, float]]:
    """Resident memory by process; PostgreSQL's shared pages are counted once (proportional set size)."""
    rows: dict[str, float] = {}
    for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        line = " ".join(process.cmdline())
        name = (
            next((n for n in ("gateway", "ratelimiter", "workers") if f"-m {n}" in line), None)
            or ("envoy" if "envoy" in line and "config-path" in line else None)
            or ("postgres" if "postgres" in line else "guardian" if "guardian" in line else "supervisor")
        )
        rows[name] = rows.get(name, 0.0) + process.memory_full_info().pss / 1_048_576
    return sorted(rows.items())


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
