"""The limiter's core in one process: `python -m bench.limiter_core [--runs 5] [--keys 1000000]`.

First called from Python, with one key and with many, against the libraries that do the same, all in turns in each run;
then in compiled code, as a server's threads use it. All of it reads the clock, and is on one core. Times are those that
this thread was running, so that what else the machine does counts as little as can be.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import results
from bench.core_peers import LIMIT, Check, NoPeers, install, peers
from bench.cores import SERVER, on_core
from bench.report import table_of
from native import COMPILED, Table
from native.limits import Algorithm, Limit

MINUTE_US = 60_000_000
CALLS = 100_000
"""Of each library in a run; of the core ten times as many, which take less time still."""
TARGET_RATIO, TARGET_NS, TARGET_BYTES = 25, 100, 64


def main() -> None:
    """Measures, prints the figures and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=results.RUNS)
    parser.add_argument("--keys", type=int, default=1_000_000)
    options = parser.parse_args()
    if not COMPILED:
        raise SystemExit("bench: the core is not compiled: apt install gcc python3-dev, then make setup")
    content: dict[str, Any] = {"target_ratio": TARGET_RATIO, "target_ns": TARGET_NS, "target_bytes": TARGET_BYTES}
    others: dict[str, Callable[[], Check]] = {}
    try:
        install()
        others = peers()
    except NoPeers as error:
        content["peers"] = str(error)
        print(error)
    keys = [f"user-{number:011}" for number in range(options.keys)]
    with on_core(SERVER):
        rows = from_python("one key", keys[:1], others, options.runs)
        rows += from_python(f"{options.keys:,} keys", keys, others, options.runs)
        rows += [compiled(algorithm, keys, options.runs) for algorithm in Algorithm]
    print(table_of(rows))
    path = results.save("limiter-core", content | {"rows": rows})
    print(f"{path.relative_to(results.ROOT)}")


def from_python(
    load: str, keys: Sequence[str], others: dict[str, Callable[[], Check]], runs: int
) -> list[dict[str, Any]]:
    """A row for each way to ask, with how many times as long the fastest library takes as the core."""
    beginnings = {"Waypost, allow": _ours("allow"), "Waypost, spend": _ours("spend")} | others
    spent: dict[str, list[float]] = {name: [] for name in beginnings}
    checks = {name: begin() for name, begin in beginnings.items()}
    for check in checks.values():
        for key in keys:
            check(key)
    for run in range(runs):
        for name, check in checks.items():
            calls = CALLS * (1 if name in others else 10)
            # New texts, as a server gets them with each request.
            asked = ["".join(list(key)) for key in random.Random(run).choices(keys, k=calls)]
            spent[name].append(_nanoseconds(check, asked))
    figures = {name: results.figure(values) for name, values in spent.items()}
    fastest = min((figures[name]["median"] for name in others), default=None)
    rows = []
    for name, figure in figures.items():
        row: dict[str, Any] = {"load": load, "called": name, "ns a decision": figure, "fastest library": ""}
        if fastest is not None and name not in others:
            row["fastest library"] = f"{fastest / figure['median']:.1f} times as long"
        rows.append(row)
    return rows


def _ours(method: str) -> Callable[[], Check]:
    def begin() -> Check:
        limiter = Table(1_000_000).limiter(("bench",), Limit(Algorithm.FIXED_WINDOW, LIMIT, MINUTE_US))
        check: Check = getattr(limiter, method)
        return check

    return begin


def _nanoseconds(check: Check, asked: Sequence[str]) -> float:
    gc.collect()
    gc.disable()
    try:
        began = time.thread_time_ns()
        for key in asked:
            check(key)
        return (time.thread_time_ns() - began) / len(asked)
    finally:
        gc.enable()


def compiled(algorithm: Algorithm, keys: Sequence[str], runs: int) -> dict[str, Any]:
    """The loop in compiled code, over all keys at random, and what a key takes of memory."""
    before = _resident()
    table = Table(len(keys))
    limiter = table.limiter(("bench",), Limit(algorithm, LIMIT, MINUTE_US))
    width = len(keys[0])
    everything = "".join(keys).encode()
    limiter.allow_many(everything, width)
    assert len(table) == len(keys)
    del everything
    resident = (_resident() - before) / len(keys)
    spent = []
    for run in range(runs):
        asked = "".join(random.Random(run).sample(keys, len(keys))).encode()
        began = time.thread_time_ns()
        answers = limiter.allow_many(asked, width)
        spent.append((time.thread_time_ns() - began) / len(keys))
        assert answers.count(1) == len(keys)
    return {
        "load": f"{len(keys):,} keys",
        "called": f"Waypost, compiled loop, {algorithm.replace('_', ' ')}",
        "ns a decision": results.figure(spent),
        "bytes a key": f"{table.memory_bytes / len(keys):.1f} (resident: {resident:.1f})",
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
