"""`ShouldRateLimit` on the hot port beside envoyproxy/ratelimit: decided in the process, and strictly with Redis."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench import programs
from bench.calls import BadAnswers, Generator, Load
from bench.hot_port import NARROW, SHOULD_RATE_LIMIT, WIDE, closed, compiled_calls
from bench.runs import Runs
from bench.servers import ratelimiter, redis_server, reference
from bench.targets import Target, at_least, below, missed, ratios, told

OURS, THEIRS = "waypost, hot port", "envoyproxy/ratelimit"
_WINDOW = f"{THEIRS}, REDIS_PIPELINE_WINDOW=150us"
MANY_KEYS = 100_000
_MANY = f", {MANY_KEYS:,} keys"

_PER_SECOND, _TIMES, _STRICT_TIMES = 150_000, 5, 1.5
_MOST_DEGRADED = 0.001
_SHARES = (0.9, 1.0)
"""Of what the reference answers in a closed loop: just before it has enough, and then."""


def local(runs: int) -> dict[str, Any]:
    """Two descriptors a call, decided in the process; the reference decides by Redis, which is its way."""
    measured, peer = Runs(Generator(compiled=True), runs), _peer()
    one, many = f"{WIDE}, one key", WIDE + _MANY
    shares = []
    for number in range(runs):
        with ratelimiter(hot=True) as server:
            done = measured.run(number, OURS, one, closed(None, descriptors=2), server)
            calls = compiled_calls(server, SHOULD_RATE_LIMIT)
            shares.append(100 * min(1.0, calls / (done.per_second * 3)))
            measured.run(number, OURS, many, closed(None, descriptors=2, keys=MANY_KEYS), server)
        if peer is None:
            continue
        with redis_server() as redis, reference(peer, redis) as server:
            for label, wide in {one: True, f"{NARROW}, one key": False}.items():
                measured.run(number, THEIRS, label, closed(None, descriptors=2, wide=wide), server, redis)
            measured.run(number, THEIRS, many, closed(None, descriptors=2, keys=MANY_KEYS), server, redis)
    targets = [
        at_least(f"{OURS}, one key", measured.rates(OURS, one), "calls/s", _PER_SECOND),
        told(f"{OURS}, one key: answered compiled", shares, "% of the calls"),
        at_least(f"{OURS}{_MANY}", measured.rates(OURS, many), "calls/s", _PER_SECOND),
    ]
    if peer is not None:
        theirs = [measured.rates(THEIRS, label) for label in (one, f"{NARROW}, one key", many)]
        for label, what in ((one, "one key"), (many, f"{MANY_KEYS:,} keys")):
            times = ratios(measured.rates(OURS, label), *theirs)
            targets.append(at_least(f"{OURS}, {what}, against {THEIRS} at its best", times, "times", _TIMES))
    return measured.content() | {"targets": targets}


def strict(runs: int) -> dict[str, Any]:
    """One descriptor a call, each server with a Redis of its own; latencies where the reference has enough to do."""
    measured, peer = Runs(Generator(compiled=True), runs), programs.peer()
    behind: set[float] = set()
    for number in range(runs):
        rates = _theirs(measured, number, peer)
        # As patient as the reference: whom Redis keeps waiting is not to be decided without it.
        with redis_server() as redis, ratelimiter(redis, hot=True, store_timeout_ms=1000) as server:
            measured.run(number, OURS, WIDE, closed(None, keys=MANY_KEYS), server, redis)
            for share, rate in rates.items():
                try:
                    measured.run(number, OURS, _at(share), _open(rate), server, redis)
                except BadAnswers as error:
                    print(f"  {error}", file=sys.stderr, flush=True)
                    behind.add(share)
    theirs = [measured.rates(THEIRS, label) for label in (WIDE, NARROW)] + [measured.rates(_WINDOW, WIDE)]
    what = f"{OURS} against {THEIRS}"
    targets: list[Target] = [at_least(what, ratios(measured.rates(OURS, WIDE), *theirs), "times", _STRICT_TIMES)]
    if (degraded := max(run.degraded for run in measured.of(OURS, WIDE))) > _MOST_DEGRADED:
        targets.append(missed(what, f"{degraded:.1%} of the answers of a run were given without Redis"))
    for share in _SHARES:
        if share in behind:
            targets.append(missed(f"{what}, p99 {_at(share)}", "ours does not keep up with that rate"))
            continue
        p99 = [[run.latency_us["p99"] for run in measured.of(name, _at(share))] for name in (OURS, THEIRS)]
        targets.append(below(f"{what}, p99 {_at(share)}", ratios(*p99), "times", 1))
    return measured.content() | {"targets": targets}


def _theirs(measured: Runs, number: int, peer: Path) -> dict[float, int]:
    """Measures the reference; the rates of the open loops by their share of what it answers at most."""
    with redis_server() as redis, reference(peer, redis, {"REDIS_PIPELINE_WINDOW": "150us"}) as server:
        measured.run(number, _WINDOW, WIDE, closed(None, keys=MANY_KEYS), server, redis)
    with redis_server() as redis, reference(peer, redis) as server:
        most = max(
            measured.run(number, THEIRS, label, closed(None, wide=wide, keys=MANY_KEYS), server, redis).per_second
            for label, wide in ((WIDE, True), (NARROW, False))
        )
        rates = {share: int(most * share) for share in _SHARES}
        for share, rate in rates.items():
            measured.run(number, THEIRS, _at(share), _open(rate), server, redis)
    return rates


def _at(share: float) -> str:
    return f"open loop at {share:.0%} of the reference's most"


def _open(rate: int) -> Load:
    return Load(rate=rate, seconds=3, warmup=0.5, connections=8, keys=MANY_KEYS)


def _peer() -> Path | None:
    """The reference server; None, which is said, where it cannot be had."""
    try:
        return programs.peer()
    except programs.NoProgram as error:
        print(f"bench: without {THEIRS}: {error}", file=sys.stderr)
        return None
