"""Targets: the median of the runs decides, and is said with its spread."""

from __future__ import annotations

from bench.targets import at_least, below, missed, ratios, sentence, told


def test_at_least_is_met_by_the_bound_itself() -> None:
    assert sentence({**at_least("ours", [24, 25, 90], "times", 25)}) == (
        "ours: 25.0 times (24.0–90.0), target at least 25 times: met"
    )
    assert sentence({**at_least("ours", [149_999], "calls/s", 150_000)}) == (
        "ours: 149,999 calls/s (149,999–149,999), target at least 150,000 calls/s: **missed**"
    )


def test_below_is_missed_by_the_bound_itself() -> None:
    assert sentence({**below("p99", [0.5, 0.999, 7], "ms", 1)}).endswith(
        "p99: 1.00 ms (0.50–7.00), target below 1 ms: met"
    )
    assert sentence({**below("p99", [1.0], "ms", 1)}).endswith("target below 1 ms: **missed**")


def test_what_nothing_is_asked_of_is_only_told() -> None:
    assert sentence({**told("both ways", [1.5], "times")}) == "both ways: 1.50 times (1.50–1.50)"


def test_what_could_not_be_measured_is_missed_with_its_reason() -> None:
    assert sentence({**missed("p99", "it does not keep up")}) == "p99: it does not keep up: **missed**"


def test_ratios_are_of_the_same_run_and_against_the_best_of_the_others() -> None:
    assert ratios([100, 100], [10, 50], [25, 20]) == [4, 2]
