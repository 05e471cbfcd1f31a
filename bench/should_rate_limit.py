"""`ShouldRateLimit` on the control port: by itself, strictly with Redis, and beside envoyproxy/ratelimit.

Every run starts its servers anew; the servers of one run take turns under the same loads, so that a machine whose speed
drifts is fair to them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from bench import programs
from bench.calls import Generator, Load
from bench.runs import Runs
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
        "envoyproxy/ratelimit": lambda: _reference(program),
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
def _reference(program: Path) -> Iterator[tuple[Server, Server | None]]:
    with redis_server() as redis, reference(program, redis) as server:
        yield server, redis


def _measure(
    generator: Generator, subjects: Mapping[str, Subject], loads: Mapping[str, Load], runs: int
) -> dict[str, Any]:
    measured = Runs(generator, runs)
    for number in range(runs):
        for name, subject in subjects.items():
            with subject() as (server, redis):
                for label, load in loads.items():
                    measured.run(number, name, label, load, server, redis)
    return measured.content()
