"""What a process with a hot port holds after ten million calls, and after a hundred thousand connections."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psutil

from bench.calls import BadAnswers, Generator, Load, Method
from bench.connections import NotAnswered, churn
from bench.cores import GENERATOR, on_core
from bench.hot_port import HEALTH, SHOULD_RATE_LIMIT, is_compiled
from bench.results import figure
from bench.servers import Server, ratelimiter, small_service
from bench.targets import Target, below
from waypost.access.api_keys import new_key

CALLS, CONNECTIONS = 10_000_000, 100_000
FEWER_CALLS, FEWER_CONNECTIONS = 1_000_000, 20_000
"""Of what takes longer: another method, and calls that go up."""
_FIRST_CALLS, _FIRST_CONNECTIONS = 200_000, 2_000
"""Before the memory is looked at: what is kept for good is then there."""

_STEP_SECONDS = 5.0
_MOST_SECONDS = 90.0
"""For the calls of one kind: where a machine does not come to the end of them, it says how far it came."""

_GROWN_MIB = 4.0
_UP = Method("/waypost.api.v1.RateLimitService/Check", b"\x0a\x05bench")


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    start: Callable[[], AbstractContextManager[Server]]
    method: Method | None
    path: str
    calls: int = FEWER_CALLS
    connections: int = FEWER_CONNECTIONS
    up: bool = False
    keys: int = 1


def memory(_: int) -> dict[str, Any]:
    """Once, however many runs there are: a process that leaks does so in each."""
    generator, key = Generator(compiled=True), new_key().text
    cases = [
        _Case("health Check, compiled", lambda: small_service(key, hot=True), HEALTH, HEALTH.path, CALLS, CONNECTIONS),
        _Case("ShouldRateLimit, compiled", lambda: ratelimiter(hot=True), None, SHOULD_RATE_LIMIT, keys=1000),
        _Case("up to Python", lambda: small_service(key, hot=True), _UP, _UP.path, up=True),
    ]
    rows, targets = [], []
    for case in cases:
        with case.start() as server:
            if not case.up and not is_compiled(server, case.path):
                print(f"  {case.name}: there is no such handler", file=sys.stderr, flush=True)
                continue
            row, target = _measure(generator, case, server)
        rows.append(row)
        targets.append(target)
        print(f"  {row}", file=sys.stderr, flush=True)
    return {"rows": rows, "targets": targets}


def _measure(generator: Generator, case: _Case, server: Server) -> tuple[dict[str, Any], Target]:
    message = case.method.message if case.method else b"\x0a\x05bench\x12\x0c\x0a\x0a\x0a\x06client\x12\x00"
    _call(generator, case, server, _FIRST_CALLS)
    _connect(server, case.path, message, _FIRST_CONNECTIONS)
    before = _resident(server)
    calls = _call(generator, case, server, case.calls)
    between = _resident(server)
    _connect(server, case.path, message, case.connections)
    after = _resident(server)
    row = {
        "process": case.name,
        "calls": calls,
        "connections": case.connections,
        "MiB before": figure([before]),
        "after the calls": figure([between]),
        "after the connections": figure([after]),
    }
    return row, below(f"{case.name}: grown by", [after - before], "MiB", _GROWN_MIB)


def _call(generator: Generator, case: _Case, server: Server, calls: int) -> int:
    """Makes at least so many calls, or as many as there is time for; how many."""
    made, spent = 0, 0.0
    seconds = 1.0
    while made < calls and spent < _MOST_SECONDS:
        run = generator.run(
            Load(seconds=seconds, warmup=0, connections=8, streams=32, method=case.method, keys=case.keys), server
        )
        made += int(run.per_second * seconds)
        spent += seconds
        seconds = min(_STEP_SECONDS, max(1.0, (calls - made) / run.per_second))
    return made


def _connect(server: Server, path: str, message: bytes, count: int) -> None:
    with on_core(GENERATOR):
        try:
            churn(server.address, path, message, count)
        except (NotAnswered, OSError) as error:
            raise BadAnswers(f"{path}: {error}") from None


def _resident(server: Server) -> float:
    """MiB."""
    return float(psutil.Process(server.pid).memory_info().rss) / 2**20
