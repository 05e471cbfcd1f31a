"""The benchmark: `python -m bench [part ...]`, without a part all of them, as `make bench` runs it.

A part alone leaves its figures in build/bench. All of them together also write docs/benchmarks.md, and so does `report`
from the figures that are there.
"""

from __future__ import annotations

import argparse
import sys
import time

from bench import environment, report, results
from bench.parts import PARTS, measure


def main() -> None:
    """Runs the parts that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*PARTS, "report"]
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(names))
    parser.add_argument("--runs", type=int, default=results.RUNS, help="runs of each measurement (%(default)s)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(names)})")
    if options.runs < 1:
        parser.error("--runs must be at least 1")

    if environment.LOAD_AT_START >= environment.QUIET_LOAD:
        print(
            f"bench: the machine is busy (load {environment.LOAD_AT_START:.1f}): latencies will be its", file=sys.stderr
        )
    chosen = [name for name in PARTS if name in options.parts] if options.parts else list(PARTS)
    for name in chosen if not options.parts else ():
        # One page is one run.
        results.forget(name)
    failed = [name for name in chosen if not _run(name, options.runs)]
    if not options.parts or "report" in options.parts:
        print(f"written: {report.write().relative_to(results.ROOT)}")
    if failed:
        raise SystemExit(f"bench: failed: {', '.join(failed)}")


def _run(name: str, runs: int) -> bool:
    """Runs a part and shows its figures; whether it came to its end."""
    began = time.monotonic()
    print(f"{name} ...", file=sys.stderr, flush=True)
    content = measure(name, runs)
    path = results.save(name, content | {"environment": environment.environment()})
    print(report.section(name, results.load(name)))
    print(f"{name}: {time.monotonic() - began:.0f} s, {path.relative_to(results.ROOT)}", file=sys.stderr, flush=True)
    return "failed" not in content


if __name__ == "__main__":
    main()
