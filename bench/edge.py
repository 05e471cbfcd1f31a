"""`GetLink` through Envoy of a whole mesh, its gateway called on its hot port and on its control port.

Two meshes, alike but for that, take turns; each has core 0 for all that belongs to it: Envoy, the services, PostgreSQL.
What a process uses of the core for each call says what bounds the whole.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import uvloop

import native
from bench import load
from bench.calls import BadAnswers, Generator, Load, Method
from bench.cores import GENERATOR, on_core
from bench.private_mesh import PrivateMesh, prepare, process_name, started
from bench.results import Figure, figure
from bench.runs import Runs
from bench.servers import Server
from bench.targets import ratios, told
from waypost.api.v1.link_service_pb2 import GetLinkRequest

HOT, CONTROL = "by the hot port", "by the control port"
_CLOSED = "gRPC, closed loop, 4 connections × 8 streams"
_OPEN = "gRPC, open loop at half of the slower one's most"
_JSON = "JSON, closed loop, 16 connections"
_SECONDS, _JSON_CONNECTIONS = 3.0, 16


def get_link(runs: int) -> dict[str, Any]:
    """Calls a second and latencies of both ways, and what each process uses of the core for a call."""
    measured = Runs(Generator(compiled=True), runs)
    by_json: dict[str, list[load.Result]] = {}
    spent: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        ways = {HOT: True, CONTROL: False} if native.HOT_PORT else {CONTROL: False}
        meshes = {name: stack.enter_context(_mesh(hot=hot)) for name, hot in ways.items()}
        for number in range(runs):
            for name, mesh in meshes.items():
                before = _used(mesh.server.pid)
                run = measured.run(number, name, _CLOSED, _load(mesh.method), mesh.server)
                spent.setdefault(name, []).append(_spent(before, _used(mesh.server.pid), run.per_second * _SECONDS))
                by_json.setdefault(name, []).append(_json(mesh))
            rate = int(min(measured.of(name, _CLOSED)[-1].per_second for name in meshes) / 2)
            for name, mesh in meshes.items():
                measured.run(number, name, _OPEN, _load(mesh.method, max(1, rate)), mesh.server)
    rows = [
        {"server": name, "load": _JSON, "calls/s": figure(run.per_second for run in done)}
        | {f"p{q:g} ms": figure(run.quantile(q / 100) * 1000 for run in done) for q in (50, 99)}
        for name, done in by_json.items()
    ]
    content = measured.content() | {"more_rows": [rows, [_shares(name, done) for name, done in spent.items()]]}
    if HOT not in meshes:
        return content
    grpc_times = ratios(*(measured.rates(name, _CLOSED) for name in (HOT, CONTROL)))
    json_times = ratios(*([run.per_second for run in by_json[name]] for name in (HOT, CONTROL)))
    p99 = ratios(*([run.latency_us["p99"] for run in measured.of(name, _OPEN)] for name in (HOT, CONTROL)))
    return content | {
        "targets": [
            told("gRPC, calls/s by the hot port against the control port", grpc_times, "times"),
            told("JSON, calls/s by the hot port against the control port", json_times, "times"),
            told("gRPC, p99 by the hot port against the control port, open loop", p99, "times"),
        ]
    }


@dataclass(frozen=True, slots=True)
class _Mesh:
    """A running mesh: its edge as a server, a call for a link in it, and the same as an HTTP/1.1 request."""

    server: Server
    method: Method
    request: bytes


@contextmanager
def _mesh(*, hot: bool) -> Iterator[_Mesh]:
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-"))
    try:
        env = prepare(folder) | {"WAYPOST_HOT_PORTS": str(hot).lower(), "WAYPOST_LOG_LEVEL": "info"}
        with started(env, folder) as mesh:
            code = _new_link(mesh)
            address = f"127.0.0.1:{mesh.port('WAYPOST_HTTP_PORT')}"
            message = GetLinkRequest(short_code=code).SerializeToString()
            head = f"GET /api/v1/urls/{code} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {mesh.key}\r\n\r\n"
            yield _Mesh(
                Server(address, mesh.pid, family=True),
                Method("/waypost.api.v1.LinkService/GetLink", message, (("x-api-key", mesh.key),)),
                head.encode(),
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_link(mesh: PrivateMesh) -> str:
    request = Request(
        f"http://127.0.0.1:{mesh.port('WAYPOST_HTTP_PORT')}/api/v1/shorten",
        data=json.dumps({"url": "https://example.com/"}).encode(),
        headers={"content-type": "application/json", "x-api-key": mesh.key},
    )
    with urlopen(request, timeout=10) as response:
        code: str = json.load(response)["short_code"]
    return code


def _load(method: Method, rate: int = 0) -> Load:
    return Load(rate=rate, seconds=_SECONDS, warmup=0.5, connections=4, streams=8, method=method)


def _json(mesh: _Mesh) -> load.Result:
    host, _, port = mesh.server.address.rpartition(":")
    with on_core(GENERATOR):
        result = uvloop.run(load.run(host, int(port), _JSON_CONNECTIONS, _SECONDS, lambda: mesh.request))
    if set(result.statuses) != {200}:
        raise BadAnswers(f"JSON: not every answer is a link: by status {dict(result.statuses)}")
    return result


def _used(pid: int) -> dict[str, float]:
    """Seconds of the core by kind of process, of all below `pid`."""
    used: dict[str, float] = {}
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times, name = process.cpu_times(), process_name(process)
            used[name] = used.get(name, 0.0) + times.user + times.system
    return used


def _spent(before: dict[str, float], after: dict[str, float], calls: float) -> dict[str, float]:
    """Microseconds of the core a call, by kind of process."""
    return {name: (used - before.get(name, 0.0)) * 1e6 / calls for name, used in after.items()}


def _shares(name: str, runs: list[dict[str, float]]) -> dict[str, str | Figure]:
    kinds = sorted({kind for run in runs for kind in run})
    return {"server": name} | {f"{kind}, µs/call": figure(run.get(kind, 0.0) for run in runs) for kind in kinds}
