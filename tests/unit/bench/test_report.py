"""The page says what was measured, what was not, and whether targets are met."""

from __future__ import annotations

from typing import Any

from bench.calls import QUANTILES
from bench.parts import PARTS
from bench.report import page, section
from bench.results import figure
from bench.targets import at_least, below, told


def _content(p99_us: float, *, degraded: float = 0.0) -> dict[str, Any]:
    row = {
        "load": "open loop, 2,000/s, one key",
        "server": "waypost, local",
        "per_second": figure([1999, 2000, 2001]),
        "latency_us": {name: figure([p99_us / 2, p99_us, p99_us * 2]) for name in QUANTILES},
        "server_us": figure([150]),
        "redis_us": figure([0]),
        "generator_cpu": figure([0.125, 0.25]),
        "degraded": figure([0, degraded]),
        "late_p99_us": figure([50]),
    }
    return {
        "generator": "Go",
        "runs": 3,
        "target_p99_us": 1000,
        "target_of": "waypost, local",
        "rows": [row, row | {"server": "grpcio alone"}],
        "environment": {"Python": "3.11.7", "date": "2026-11-22 10:00 UTC"},
    }


def test_the_page_has_a_place_for_every_part() -> None:
    text = page(dict.fromkeys(PARTS))
    assert text.count("Not measured in this run.") == len(PARTS)
    assert "$" not in text


def test_a_part_shows_medians_with_their_spread_and_whether_its_target_is_met() -> None:
    text = section("should-rate-limit", _content(640))
    assert "| 2,000 (1,999–2,001) | 0.64 (0.32–1.28) |" in text
    # Of others there is a row, and no verdict.
    assert text.count("| grpcio alone |") == 1
    assert text.count("p99 0.64 ms, target below 1 ms: met") == 1
    assert "at most 25% of its core" in text
    assert "Redis" not in text


def test_a_missed_target_is_said_aloud() -> None:
    assert "p99 1.00 ms, target below 1 ms: **missed**" in section("should-rate-limit", _content(1000))


def test_answers_without_redis_are_said_aloud() -> None:
    assert "Up to 12.50% of the answers of a run were given without Redis." in section(
        "redis", _content(640, degraded=0.125)
    )


def test_what_is_missing_and_what_failed_is_said() -> None:
    assert section("envoyproxy", {"missing": "there is no Go here"}) == "Not measured: there is no Go here."
    assert section("envoyproxy", {"failed": "it ended with 1"}) == "**Failed**: it ended with 1."


def test_figures_of_other_programs_are_shown_column_by_column() -> None:
    rows = [{"library": "limits", "ns_a_call": figure([4100.4]), "keys": 1_000_000}, {"library": "other"}]
    assert section("limiter-core", {"rows": rows}).splitlines() == [
        "| library | ns a call | keys |",
        "| --- | --- | --- |",
        "| limits | 4,100 (4,100–4,100) | 1,000,000 |",
        "| other |  |  |",
    ]


def test_other_facts_of_a_part_are_shown_line_by_line() -> None:
    content = {"peers": {"limits": {"hot_key": figure([2.5])}}, "sizes": [64], "environment": {"date": "today"}}
    assert section("limiter-core", content).splitlines() == [
        "|  |  |",
        "| --- | --- |",
        "| peers, limits, hot key | 2.50 (2.50–2.50) |",
        "| sizes, 1 | 64 |",
    ]


def test_parts_measured_apart_from_each_other_are_told_apart() -> None:
    earlier = _content(640)
    later = _content(640) | {"environment": {"Python": "3.12.1", "date": "2026-11-22 11:00 UTC"}}
    text = page(dict.fromkeys(PARTS) | {"redis": earlier, "envoyproxy": later})
    assert "| date | 2026-11-22 10:00 UTC to 2026-11-22 11:00 UTC |" in text
    assert "| Python | 3.11.7; 3.12.1 |" in text


def test_the_core_is_held_to_its_targets() -> None:
    def row(called: str, nanoseconds: float) -> dict[str, Any]:
        return {"load": "one key", "called": called, "ns a decision": figure([nanoseconds])}

    rows = [
        row("Waypost, allow", 100),
        row("Waypost, spend", 101),
        row("limits", 2500),
        row("Waypost, compiled loop, fixed window", 100),
        row("Waypost, compiled loop, token bucket", 101),
    ]
    text = section("limiter-core", {"target_ratio": 25, "target_ns": 100, "rows": rows})
    assert text.splitlines()[-4:] == [
        "- one key, Waypost, allow: 25.0 times, target at least 25 times: met",
        "- one key, Waypost, spend: 24.8 times, target at least 25 times: **missed**",
        "- one key, Waypost, compiled loop, fixed window: 100 ns, target at most 100 ns: met",
        "- one key, Waypost, compiled loop, token bucket: 101 ns, target at most 100 ns: **missed**",
    ]


def test_targets_stand_under_the_calls_and_other_tables() -> None:
    content = _content(640) | {
        "more_rows": [[{"server": "envoy", "µs/call": figure([30])}]],
        "targets": [at_least("ours", [30], "times", 25), told("besides", [2], "times")],
    }
    lines = section("hot-port", content).splitlines()
    assert lines[-2:] == [
        "- ours: 30.0 times (30.0–30.0), target at least 25 times: met",
        "- besides: 2.00 times (2.00–2.00)",
    ]
    assert "| envoy | 30.00 (30.00–30.00) |" in lines
    rows = {"rows": [{"process": "one", "calls": 1000}], "targets": [below("grown by", [5], "MiB", 4)]}
    assert section("hot-memory", rows).splitlines()[2:] == [
        "| one | 1,000 |",
        "",
        "- grown by: 5.00 MiB (5.00–5.00), target below 4 MiB: **missed**",
    ]
