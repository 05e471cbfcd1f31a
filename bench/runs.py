"""What several servers did under several loads, run by run: kept, shown as it comes, and made a table of."""

from __future__ import annotations

import sys
from typing import Any

from bench.calls import QUANTILES, BadAnswers, Generator, Load, Run
from bench.results import figure
from bench.servers import Server


class Runs:
    """The runs of a part, by server and load."""

    def __init__(self, generator: Generator, runs: int) -> None:
        self._generator = generator
        self._runs = runs
        self._measured: dict[tuple[str, str], list[Run]] = {}

    def run(self, number: int, name: str, label: str, load: Load, server: Server, redis: Server | None = None) -> Run:
        """The run `number`, from 0, of the server `name` under `load`. Raises `BadAnswers`, which names both."""
        try:
            run = self._generator.run(load, server, redis, seed=number + 1)
        except BadAnswers as error:
            raise BadAnswers(f"{name}, {label}: {error}") from None
        self._measured.setdefault((name, label), []).append(run)
        print(f"  {number + 1}/{self._runs}  {name}, {label}: {_line(run)}", file=sys.stderr, flush=True)
        return run

    def of(self, name: str, label: str) -> list[Run]:
        """What was measured of a server under a load."""
        return self._measured[name, label]

    def rates(self, name: str, label: str) -> list[float]:
        """Answers a second, run by run."""
        return [run.per_second for run in self.of(name, label)]

    def content(self) -> dict[str, Any]:
        """The part's figures, load by load."""
        labels = list(dict.fromkeys(label for _, label in self._measured))
        rows = [
            {"server": name, "load": label, **_row(done)}
            for wanted in labels
            for (name, label), done in self._measured.items()
            if label == wanted
        ]
        return {"generator": self._generator.name, "runs": self._runs, "rows": rows}


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
    return f"{run.per_second:.0f}/s, {latency}, {run.server_us:.1f} µs of the core a call"
