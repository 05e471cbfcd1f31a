"""The page of the benchmark, docs/benchmarks.md: its text from benchmarks.template.md, its tables from the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from bench.parts import PARTS
from bench.results import ROOT, load
from bench.targets import sentence

PAGE = ROOT / "docs" / "benchmarks.md"
_TEMPLATE = Path(__file__).with_name("benchmarks.template.md")
_NOT_MEASURED = "Not measured in this run."


def write() -> Path:
    """Writes the page from the figures that are there."""
    PAGE.write_text(page({name: load(name) for name in PARTS}), encoding="utf-8")
    return PAGE


def page(contents: dict[str, dict[str, Any] | None]) -> str:
    """The page's text. `contents`: what each part measured, None for what was not."""
    sections = {name.replace("-", "_"): section(name, content) for name, content in contents.items()}
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(environment=_environment(contents), **sections)


def section(name: str, content: dict[str, Any] | None) -> str:
    """One part's tables, and whether its target is met."""
    if content is None:
        return _NOT_MEASURED
    if "missing" in content:
        return f"Not measured: {content['missing']}."
    if "failed" in content:
        return f"**Failed**: {content['failed']}."
    rows: list[dict[str, Any]] = content.get("rows", [])
    if rows and "latency_us" in rows[0]:
        more = [table_of(rows) for rows in content.get("more_rows", [])]
        return "\n\n".join([_calls(content), *more, *_targets(content)])
    tables = [table_of(rows)] if rows else []
    if "targets" in content:
        return "\n\n".join([*tables, *_targets(content)])
    if facts := list(_flat({name: value for name, value in content.items() if name not in ("rows", "environment")})):
        tables.append(_table(["", ""], facts))
    if "target_ratio" in content:
        tables.append("\n".join(_core_verdicts(content)))
    return "\n\n".join(tables) or _NOT_MEASURED


def _targets(content: dict[str, Any]) -> list[str]:
    lines = [f"- {sentence(target)}" for target in content.get("targets", ())]
    return ["\n".join(lines)] if lines else []


def _environment(contents: dict[str, dict[str, Any] | None]) -> str:
    """The facts about machine and versions; where parts were measured apart from each other, all there were."""
    facts: dict[str, list[str]] = {}
    for content in contents.values():
        for name, fact in (content or {}).get("environment", {}).items():
            known = facts.setdefault(name, [])
            if fact not in known:
                known.append(fact)
    for name, first_and_last in facts.items():
        if name == "date" and len(first_and_last) > 1:
            facts[name] = [f"{min(first_and_last)} to {max(first_and_last)}"]
    return _table(["", ""], ([name, "; ".join(fact)] for name, fact in facts.items()))


def _calls(content: dict[str, Any]) -> str:
    rows = content["rows"]
    with_redis = any(row["redis_us"]["max"] > 0 for row in rows)
    head = ["load", "server", "calls/s", "p50 ms", "p99 ms", "p99.9 ms", "server, µs/call"]
    head += ["Redis, µs/call"] if with_redis else []
    lines = []
    for row in rows:
        line = [row["load"], row["server"], number(row["per_second"], 0)]
        line += [number(row["latency_us"][q], 2, 1 / 1000) for q in ("p50", "p99", "p99.9")]
        line += [number(row["server_us"], 0 if row["server_us"]["median"] >= 100 else 1)]
        line += [number(row["redis_us"], 0)] if with_redis else []
        lines.append(line)
    text = _table(head, lines)
    if (target := content.get("target_p99_us")) is not None:
        ours = [row for row in rows if row["load"].startswith("open loop") and row["server"] == content["target_of"]]
        text += "\n\n" + "\n".join(_verdict(row, target) for row in ours)
    degraded = max(row["degraded"]["max"] for row in rows)
    if degraded:
        text += f"\n\nUp to {degraded:.2%} of the answers of a run were given without Redis."
    busiest = max(row["generator_cpu"]["max"] for row in rows)
    latest = max(row["late_p99_us"]["median"] for row in rows)
    return (
        f"{text}\n\nGenerator: {content['generator']}; it used at most {busiest:.0%} of its core. Open loops: 99 % of "
        f"the calls left within {latest / 1000:.2f} ms of when they were due, which is part of their latency."
    )


def _verdict(row: dict[str, Any], target: float) -> str:
    p99 = row["latency_us"]["p99"]["median"]
    met = "met" if p99 < target else "**missed**"
    return f"- {row['load']}: p99 {p99 / 1000:.2f} ms, target below {target / 1000:g} ms: {met}"


def _core_verdicts(content: dict[str, Any]) -> Iterator[str]:
    """Whether the core is as much quicker than the fastest library, and its loop as quick, as they shall be."""
    spent = [(row["load"], row["called"], row["ns a decision"]["median"]) for row in content["rows"]]
    ratio, most = content["target_ratio"], content["target_ns"]
    for place, called, own in spent:
        if "loop" in called:
            met = "met" if own <= most else "**missed**"
            yield f"- {place}, {called}: {own:.0f} ns, target at most {most} ns: {met}"
        elif called.startswith("Waypost"):
            others = [ns for its_place, name, ns in spent if its_place == place and not name.startswith("Waypost")]
            if others:
                times = min(others) / own
                met = "met" if times >= ratio else "**missed**"
                yield f"- {place}, {called}: {times:.1f} times, target at least {ratio} times: {met}"


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[list[str]]:
    """What is nested, as lines of a name and a value."""
    for name, value in values.items():
        place = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict) and "median" not in value:
            yield from _flat(value, f"{place}, ")
        elif isinstance(value, list):
            yield from _flat({str(number + 1): item for number, item in enumerate(value)}, f"{place}, ")
        else:
            yield [place, _cell(value)]


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """A table of figures and facts, a column for each key."""
    head = list(dict.fromkeys(key for row in rows for key in row))
    return _table(
        [name.replace("_", " ") for name in head], ([_cell(row.get(name, "")) for name in head] for row in rows)
    )


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return number(value, 0 if value["median"] >= 100 else 2)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def number(figure: dict[str, float], digits: int, factor: float = 1.0) -> str:
    """A median with its spread."""
    middle, low, high = (f"{figure[name] * factor:,.{digits}f}" for name in ("median", "min", "max"))
    return f"{middle} ({low}–{high})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
