"""The Redis script by itself, against `SET` in the same run: `python -m bench.redis_script [--runs 5]`.

Driven by `redis-benchmark` with pipelining, Redis on one core and the generator on the other. Beside the script stand
its parts, to show what costs what: a script that does nothing, and Redis' own share of a decision.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
from dataclasses import dataclass

from bench import results
from bench.cores import GENERATOR, SERVER, on_core
from bench.environment import environment
from bench.report import table_of
from native.limits import Algorithm, Limit
from native.request import Question
from tests.support.redis import RedisServer, redis_server
from waypost.adapters.redis_script import SOURCE, decision_arguments

PART = "redis-script"
PIPELINE, CONNECTIONS, KEYS = 16, 8, 100_000
CALLS, SET_CALLS = 60_000, 400_000
MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
PLENTY = 1_000_000_000
_KEY = "wp:{bench}:1;4:rule4:user12:__rand_int__:%d"
_VALUE = "x" * 24
_ARGUMENT = "= KEYS, ARGV[1]\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A command of redis-benchmark; `source` is a script whose SHA stands in for the word `SHA`."""

    what: str
    words: tuple[str, ...]
    source: str = ""


def main() -> None:
    """Runs the benchmark, keeps its figures and prints them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=results.RUNS)
    options = parser.parse_args()
    missing = next((name for name in ("redis-server", "redis-benchmark") if shutil.which(name) is None), None)
    if missing:
        results.save(PART, {"missing": f"there is no {missing} here"})
        return
    measured: dict[Case, list[tuple[float, float]]] = {case: [] for case in cases()}
    with on_core(SERVER), redis_server() as server, on_core(GENERATOR):
        for _ in range(options.runs):
            for case, figures in measured.items():
                figures.append(run(server, case))
    sets = [per_second for per_second, _ in measured[cases()[0]]]
    rows = [
        {
            "redis-benchmark": case.what,
            "calls a second": results.figure(per_second for per_second, _ in figures),
            "SETs in the time of one": results.figure(
                of_set / per_second for of_set, (per_second, _) in zip(sets, figures, strict=True)
            ),
            "µs inside Redis": results.figure(inside for _, inside in figures),
        }
        for case, figures in measured.items()
    ]
    content = {"rows": rows, "pipeline": PIPELINE, "connections": CONNECTIONS, "environment": environment()}
    results.save(PART, content)
    print(table_of(rows))


def cases() -> list[Case]:
    """What is measured; `SET` first."""
    decisions = {
        "decision, two fixed windows": [question(1), question(2)],
        "decision, fixed window and token bucket": [question(1), question(2, Algorithm.TOKEN_BUCKET)],
        "decision, fixed and sliding window": [question(1), question(2, Algorithm.SLIDING_WINDOW)],
        "decision, two fixed windows, refused": [question(1), question(2, limit=0)],
        "decision, one fixed window": [question(1)],
    }
    scripts = {
        "script that does nothing": "return 0",
        "script: TIME": "redis.call('TIME') return 0",
        "script: MGET of two": "redis.call('MGET', unpack(KEYS)) return 0",
        "script: TIME, MGET of two, two SET with a TTL": (
            "redis.call('TIME') redis.call('MGET', unpack(KEYS)) "
            f"for _, key in ipairs(KEYS) do redis.call('SET', key, '{_VALUE}', 'PX', '60000') end return 0"
        ),
    }
    return [
        Case("SET", ("SET", "key:__rand_int__", _VALUE)),
        Case("SET with a TTL", ("SET", "key:__rand_int__", _VALUE, "PX", "60000")),
        *(decision(what, questions) for what, questions in decisions.items()),
        *(Case(what, ("EVALSHA", "SHA", "2", _KEY % 1, _KEY % 2), source) for what, source in scripts.items()),
    ]


def question(number: int, algorithm: Algorithm = Algorithm.FIXED_WINDOW, limit: int = PLENTY) -> Question:
    """A question about the counter of a descriptor."""
    window_us = MINUTE_US if number == 1 else HOUR_US
    return Question(("bench", str(number)), (), Limit(algorithm, limit, window_us), 1, number)


def decision(what: str, questions: list[Question]) -> Case:
    """A decision. redis-benchmark sends no zero bytes: the script has its argument inside, and gets as many others."""
    _, argument = decision_arguments("bench", questions)
    literal = "'" + "".join(f"\\{byte:03d}" for byte in argument) + "'"
    keys = [_KEY % (number + 1) for number in range(len(questions))]
    words = ("EVALSHA", "SHA", str(len(keys)), *keys, "x" * len(argument))
    source = SOURCE.decode()
    assert source.count(_ARGUMENT) == 1
    return Case(what, words, source.replace(_ARGUMENT, f"= KEYS, {literal}\n"))


def run(server: RedisServer, case: Case) -> tuple[float, float]:
    """Calls a second, and microseconds that each took inside Redis."""
    server.execute("FLUSHALL")
    sha = server.execute("SCRIPT", "LOAD", case.source).decode() if case.source else ""
    words = [sha if word == "SHA" else word for word in case.words]
    calls = CALLS if case.source else SET_CALLS
    benchmark = ["redis-benchmark", "-s", str(server.socket), "--csv", "-P", str(PIPELINE), "-c", str(CONNECTIONS)]
    server.execute("CONFIG", "RESETSTAT")
    done = subprocess.run(
        [*benchmark, "-r", str(KEYS), "-n", str(calls), *words], capture_output=True, text=True, check=True
    )
    *_, line = csv.DictReader(io.StringIO(done.stdout))
    statistics = server.execute("INFO", "commandstats")[f"cmdstat_{words[0].lower()}"]
    if statistics["calls"] < calls or statistics["failed_calls"]:
        raise SystemExit(f"{case.what}: not all calls went well: {statistics}")
    return float(line["rps"]), float(statistics["usec_per_call"])


if __name__ == "__main__":
    main()
