"""The parts of the benchmark by name, in the order of the page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from bench import edge, hot_attack, hot_limits, hot_memory, hot_port, results, should_rate_limit
from bench.calls import BadAnswers
from bench.programs import NoProgram
from bench.servers import NotStarted


class Failed(Exception):
    """A part that is a program of its own did not come to its end."""


def _program(part: str) -> Callable[[int], dict[str, Any]]:
    """A part that is a program of its own: it pins itself and leaves its figures in build/bench."""
    name = f"bench.{part.replace('-', '_')}"

    def run(runs: int) -> dict[str, Any]:
        results.forget(part)
        command = [sys.executable, "-m", name, "--runs", str(runs)]
        # Its own words are no part of the tables.
        done = subprocess.run(command, cwd=results.ROOT, stdout=sys.stderr, check=False)
        content = results.load(part)
        if done.returncode or content is None:
            raise Failed(f"{name} ended with {done.returncode}" + ("" if content else " and left no figures"))
        return content

    return run


PARTS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "limiter-core": _program("limiter-core"),
    "should-rate-limit": should_rate_limit.local,
    "redis": should_rate_limit.strict,
    "redis-script": _program("redis-script"),
    "envoyproxy": should_rate_limit.peers,
    "hot-port": hot_port.throughput,
    "hot-latency": hot_port.latency,
    "hot-limits": hot_limits.local,
    "hot-redis": hot_limits.strict,
    "hot-memory": hot_memory.memory,
    "hot-attack": hot_attack.attacks,
    "edge": edge.get_link,
}
"""Each takes the number of runs and gives its figures."""


def measure(name: str, runs: int) -> dict[str, Any]:
    """What the part `name` measures; under `missing` why it cannot be here, under `failed` what went wrong."""
    try:
        return PARTS[name](runs)
    except NoProgram as error:
        return {"missing": str(error)}
    except (Failed, BadAnswers, NotStarted, OSError, subprocess.SubprocessError, psutil.Error) as error:
        # One part that breaks down shall not take the others' figures with it.
        print("\n".join(["bench:", *getattr(error, "__notes__", ())]), file=sys.stderr)
        return {"failed": str(error) or type(error).__name__}
