"""Well-behaved callers of the hot port while others attack it, against the same while those attack somebody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from bench.calls import Generator, Load
from bench.cores import GENERATOR, on_core
from bench.hot_port import HEALTH
from bench.results import ROOT
from bench.runs import Runs
from bench.servers import NotStarted, Server, ratelimiter, sink
from bench.targets import below, ratios, told
from tests.faults.hot_attacks import ATTACKS, READY

RATE = 2000
NAMES = (
    "malformed frames",
    "continuations",
    "huge metadata",
    "rapid resets",
    "rapid resets, up",
    "pings",
    "settings",
    "slow fields",
    "slow messages",
    "starved windows",
    "100 MB messages",
    "prefixes never whole",
    "hung up after calls",
    "gone with calls up",
)
"""Of `tests.faults.hot_attacks`, those that another port can be attacked with in the same way."""

OURS, ANOTHER = "attacked", "another port attacked"
ALONE, NOTHING = "left alone", "no attack"
_MOST_TIMES = 1.2
_LIFE_SECONDS = 1.0
"""Of a bad client, whom the other port does not cut off."""
_FOR_EVER = 1_000_000
_LEAST_URGENT = 19


def attacks(runs: int) -> dict[str, Any]:
    """p99 of an open loop while a port is attacked, this one or another, attack by attack."""
    measured = Runs(Generator(compiled=True), runs)
    load = Load(rate=RATE, seconds=3, warmup=0.5, method=HEALTH)
    for number in range(runs):
        with ratelimiter(hot=True) as server, sink() as other:
            measured.run(number, ALONE, NOTHING, load, server)
            for turn, name in enumerate(NAMES):
                attacked = [(OURS, server), (ANOTHER, other)]
                # Who is first takes turns.
                for whom, target in attacked if (number + turn) % 2 else reversed(attacked):
                    with attacking(name, target):
                        measured.run(number, whom, _label(name), load, server)

    def p99(whom: str, label: str) -> list[float]:
        return [run.latency_us["p99"] for run in measured.of(whom, label)]

    targets = [
        below(f"{name}: p99, against {ANOTHER}", ratios(p99(OURS, label), p99(ANOTHER, label)), "times", _MOST_TIMES)
        for name, label in ((name, _label(name)) for name in NAMES)
    ]
    beside = [ratio for name in NAMES for ratio in ratios(p99(ANOTHER, _label(name)), p99(ALONE, NOTHING))]
    return measured.content() | {
        "targets": [*targets, told(f"p99 with {ANOTHER}, against {ALONE}, all attacks", beside, "times")]
    }


def _label(name: str) -> str:
    return f"{name}, {ATTACKS[name].rate}/s"


@contextmanager
def attacking(name: str, target: Server) -> Iterator[None]:
    """An attack for the time of the block, by a process on the generator's core that gives way to the generator."""
    port, rate = target.address.rpartition(":")[2], ATTACKS[name].rate
    command = [sys.executable, "-m", "tests.faults.hot_attacks", name, port]
    command += [f"--rate={rate}", f"--connections={_FOR_EVER}", f"--seconds={_LIFE_SECONDS}"]
    with on_core(GENERATOR):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        psutil.Process(process.pid).nice(_LEAST_URGENT)
        assert process.stdout is not None
        if process.stdout.readline().strip() != READY:
            raise NotStarted(f"the attack {name} ended with {process.wait()}")
        yield
        if process.poll() is not None:
            raise NotStarted(f"the attack {name} ended by itself, with {process.returncode}")
    finally:
        process.kill()
        process.communicate()
