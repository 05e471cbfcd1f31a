"""`ShouldRateLimit` on the control port: by itself, strictly with Redis, and beside envoyproxy/ratelimit.

Every run starts its servers anew; the servers of one run take turns under the same loads, so that a machine whose speed
drifts is fair to them all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from bench import programs
from bench.calls import QUANTILES, BadAnswers, Generator, Load, Run
from bench.results import figure
from bench.servers import Server, grpcio_alone, ratelimiter, redis_server, reference

MANY_KEYS = 100_000

Subject = Callable[[], AbstractContextManager[tuple[Server, Server | None]]]
"""Starts what is measured: the server that is called, and the Redis it asks, if it does."""

LOCAL_LOADS = {
    "open loop, 2,000/s, one key": Load(rate=2000),
    "open loop, 2,000/s, 100,000 keys": Load(rate=2000, keys=MANY_KEYS),
    "open loop, 2,000/s by chance, 100,000 keys": Load(rate=2000, keys=MANY_KEYS, poisson=True),
    "closed loop, 32 at a time, 100,000 keys": Load(keys=MANY_KEYS),
}
STRICT_LOADS = {
    "open loop, 1,000/s, one key": Load(rate=1000),
    "open loop, 1,000/s, 100,000 keys": Load(rate=1000, keys=MANY_KEYS),
    "open loop, 1,000/s by chance, 100,000 keys": Load(rate=1000, keys=MANY_KEYS, poisson=True),
}
PEER_LOADS = {
    "open loop, 1,000/s, one key": Load(rate=1000),
    "open loop, 1,000/s, 100,000 keys": Load(rate=1000, keys=MANY_KEYS),
    "closed loop, 32 at a time, one key": Load(),
    "closed loop, 32 at a time, 100,000 keys": Load(keys=MANY_KEYS),
}


def local(runs: int) -> dict[str, Any]:
    """Local decisions, and what they cannot be quicker than. The target is a p99 below 1 ms."""
    subjects: dict[str, Subject] = {"waypost, local": _local, "grpcio alone": _alone}
    return _measure(Generator(), subjects, LOCAL_LOADS, runs) | {"target_p99_us": 1000, "target_of": "waypost, local"}


def strict(runs: int) -> dict[str, Any]:
    """Decisions by Redis. The target is a p99 below 1.5 ms."""
    return _measure(Generator(), {"waypost, strict": _strict}, STRICT_LOADS, runs) | {
        "target_p99_us": 1500,
        "target_of": "waypost, strict",
    }


def peers(runs: int) -> dict[str, Any]:
    """Ours and the reference, each with a Redis of its own."""
    program = programs.peer()
    subjects: dict[str, Subject] = {
        "waypost, strict": _strict,
        "envoyproxy/ratelimit": lambda: _reference(program, {}),
        "envoyproxy/ratelimit, REDIS_PIPELINE_WINDOW=150us": lambda: _reference(
            program, {"REDIS_PIPELINE_WINDOW": "150us"}
        ),
    }
    return _measure(Generator(), subjects, PEER_LOADS, runs)


@contextmanager
def _local() -> Iterator[tuple[Server, Server | None]]:
    with ratelimiter() as server:
        yield server, None


@contextmanager
def _alone() -> Iterator[tuple[Server, Server | None]]:
    with grpcio_alone() as server:
        yield server, None


@contextmanager
def _strict() -> Iterator[tuple[Server, Server | None]]:
    with redis_server() as redis, ratelimiter(redis) as server:
        yield server, redis


@contextmanager
def _reference(program: Path, more: Mapping[str, str]) -> Iterator[tuple[Server, Server | None]]:
    with redis_server() as redis, reference(program, redis, more) as server:
        yield server, redis


def _measure(
    generator: Generator, subjects: Mapping[str, Subject], loads: Mapping[str, Load], runs: int
) -> dict[str, Any]:
    measured: dict[tuple[str, str], list[Run]] = {(load, name): [] for load in loads for name in subjects}
    for number in range(runs):
        for name, subject in subjects.items():
            with subject() as (server, redis):
                for label, load in loads.items():
                    try:
                        run = generator.run(load, server, redis, seed=number + 1)
                    except BadAnswers as error:
                        raise BadAnswers(f"{name}, {label}: {error}") from None
                    measured[label, name].append(run)
                    print(f"  {number + 1}/{runs}  {name}, {label}: {_line(run)}", file=sys.stderr, flush=True)
    rows = [{"server": name, "load": label, **_row(done)} for (label, name), done in measured.items()]
    return {"generator": generator.name, "runs": runs, "rows": rows}


def _row(runs: list[Run]) -> dict[str, Any]:
    return {
        "per_second": figure(run.per_second for run in runs),
        "latency_us": {name: figure(run.latency_us[name] for run in runs) for name in QUANTILES},
        "server_us": figure(run.server_us for run in runs),
        "redis_us": figure(run.redis_us for run in runs),
        "generator_cpu": figure(run.generator_cpu for run in runs),
        "degraded": figure(run.degraded for run in runs),
        "late_p99_us": figure(run.late_us.get("p99", 0.0) for run in runs),
    }


def _line(run: Run) -> str:
    latency = ", ".join(f"{name} {run.latency_us[name]:.0f} µs" for name in ("p50", "p99", "p99.9"))
    return f"{run.per_second:.0f}/s, {latency}, {run.server_us:.0f} µs of the core a call"
