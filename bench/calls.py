"""Calls under load, of `ShouldRateLimit` or any other method: what is asked of the generator, and what it answers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from bench import programs
from bench.cores import GENERATOR, cpu_seconds, on_core
from bench.results import ROOT
from bench.servers import Server, commands_so_far

DOMAIN, KEY = "bench", "client"
"""Of the rule in peers/ratelimit/config; another value of the key is another counter."""

QUANTILES = ("p50", "p90", "p99", "p99.9", "max")


@dataclass(frozen=True, slots=True)
class Method:
    """A method other than `ShouldRateLimit`: its path, `/package.Service/Method`, and what each call brings."""

    path: str
    message: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def flags(self) -> list[str]:
        """What the generator is told."""
        headers = [f"-header={name}:{value}" for name, value in self.headers]
        return [f"-method={self.path}", f"-message={self.message.hex()}", *headers]


@dataclass(frozen=True, slots=True)
class Load:
    """How the server is called.

    With `rate` an open loop: so many calls a second are due, and a latency counts from when its call was due. Without
    it a closed loop: `streams` calls are under way on each of the `connections`. Keys are drawn evenly from `keys`.
    """

    rate: int = 0
    keys: int = 1
    seconds: float = 4.0
    warmup: float = 1.0
    connections: int = 4
    streams: int = 8
    poisson: bool = False
    """Open loop: calls come by chance, as from many callers, instead of one every 1/rate seconds."""
    descriptors: int = 1
    """Of each request for `ShouldRateLimit`; another key for each."""
    method: Method | None = None
    """What is called; None: `ShouldRateLimit`."""

    def arguments(self, address: str, seed: int) -> list[str]:
        """What the generator is told."""
        flags = {
            "address": address,
            "mode": "open" if self.rate else "closed",
            "arrivals": "poisson" if self.poisson else "even",
            "rate": self.rate or 1,
            "keys": self.keys,
            "seconds": self.seconds,
            "warmup": self.warmup,
            "connections": self.connections,
            "streams": self.streams,
            "domain": DOMAIN,
            "key": KEY,
            "descriptors": self.descriptors,
            "seed": seed,
        }
        return [*(f"-{name}={value}" for name, value in flags.items()), *(self.method.flags() if self.method else ())]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured. Latencies in microseconds by quantile; CPU in microseconds of one core a call."""

    per_second: float
    latency_us: dict[str, float]
    server_us: float
    redis_us: float
    generator_cpu: float
    """The share of its core that the generator itself used."""
    degraded: float
    """The share of answers that were given without Redis."""
    late_us: dict[str, float] = field(default_factory=dict)
    """Open loop: how late calls left the generator."""


class BadAnswers(Exception):
    """Calls failed or were refused, so that the figures are of something else than what is measured."""


class Generator:
    """The load generator: the Go program, or without Go a slower one in Python.

    `compiled`: only the Go program will do, for what a generator in Python could not keep busy; raises `NoProgram`.
    """

    def __init__(self, *, compiled: bool = False) -> None:
        try:
            self._command = [str(programs.generator())]
            self.name = "Go, HTTP/2 frames"
        except programs.NoProgram as error:
            if compiled:
                raise
            print(f"bench: {error}; calls are made by grpcio, which is slower than what it measures", file=sys.stderr)
            self._command = [sys.executable, "-m", "bench.grpc_calls"]
            self.name = f"grpcio asyncio ({error}): a bottleneck itself"

    def run(self, load: Load, server: Server, redis: Server | None = None, seed: int = 1) -> Run:
        """Calls `server`, and measures what it and `redis` use. Raises `BadAnswers`."""
        watched = [server, *([redis] if redis else [])]
        before = [cpu_seconds(each.pid, family=each.family) for each in watched]
        asked = commands_so_far(redis) if redis else 0
        with on_core(GENERATOR):
            done = subprocess.run(
                [*self._command, *load.arguments(server.address, seed)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=load.seconds + load.warmup + 30,
            )
        if done.returncode:
            raise BadAnswers(done.stderr.strip())
        told: dict[str, Any] = json.loads(done.stdout)
        if told["errors"] or set(told["codes"]) != {"OK"}:
            raise BadAnswers(f"not every call was admitted: {told['codes']}, errors {told['errors']}")
        if redis and (asked := commands_so_far(redis) - asked) < (told["answers"] - told["degraded"]):
            raise BadAnswers(f"{told['answers']} answers, but Redis was asked only {asked} times")
        used = [
            (cpu_seconds(each.pid, family=each.family) - begun) * 1e6 / told["calls"]
            for each, begun in zip(watched, before, strict=True)
        ]
        return Run(
            per_second=told["per_second"],
            latency_us=told["latency_us"],
            server_us=used[0],
            redis_us=used[1] if redis else 0.0,
            generator_cpu=told["generator_cpu"],
            degraded=told["degraded"] / told["answers"],
            late_us=told.get("late_us") or {},
        )
