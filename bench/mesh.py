"""Creates and redirects through Envoy of a mesh of its own: `python -m bench.mesh [--connections 16] [--seconds 5]`.

The mesh runs on core 0, the generator on core 1, where there are two. Each figure is the median of the runs with their
spread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import uvloop

from bench import load
from bench.private_mesh import memory, pin_generator, prepare, spread, started


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-"))
    try:
        _bench(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bench(folder: Path, options: argparse.Namespace) -> None:
    env = prepare(folder)
    cold = time.perf_counter()
    with started(env, folder):
        cold = time.perf_counter() - cold
    warm = time.perf_counter()
    with started(env, folder) as mesh:
        warm = time.perf_counter() - warm
        print(f"start with an empty data directory {cold:.2f} s, with a full one {warm:.2f} s")
        pin_generator()
        port = mesh.port("WAYPOST_HTTP_PORT")
        _measure("creates", port, options, _creates(port, mesh.key))
        _measure("redirects", port, options, _redirects(port, mesh.key))
        for name, megabytes in memory(mesh.pid):
            print(f"memory  {name:<12} {megabytes:6.1f} MiB")


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
        f"{name:<10} {spread(rates, '.0f')} /s   p50 {spread(p50, '.2f')} ms   p99 {spread(p99, '.2f')} ms   "
        f"statuses {statuses}"
    )


def _creates(port: int, key: str) -> Iterator[bytes]:
    for number in itertools.count():
        body = json.dumps({"url": f"https://example.com/{number}?x={random.random()}"}).encode()
        yield (
            b"POST /api/v1/shorten HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
            b"x-api-key: %s\r\ncontent-length: %d\r\n\r\n" % (port, key.encode(), len(body)) + body
        )


def _redirects(port: int, key: str) -> Iterator[bytes]:
    codes = []
    for number in range(1000):
        request = Request(
            f"http://127.0.0.1:{port}/api/v1/shorten",
            data=json.dumps({"url": f"https://example.com/{number}"}).encode(),
            headers={"content-type": "application/json", "x-api-key": key},
        )
        with urlopen(request) as response:
            codes.append(json.load(response)["short_code"])
    return (
        f"GET /{random.choice(codes)} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode() for _ in itertools.count()
    )


if __name__ == "__main__":
    main()
