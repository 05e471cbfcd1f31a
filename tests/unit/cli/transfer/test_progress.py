"""What an import tells while it runs and nobody watches a terminal."""

from __future__ import annotations

import time

import pytest

from waypost.cli.transfer.journal import Counts
from waypost.cli.transfer.progress import LINE_SECONDS, ImportProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_wait_is_told_at_once_whatever_was_told_before(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with ImportProgress(100, lambda: 0, quiet=False) as progress:
        clock[0] += LINE_SECONDS
        progress.done(Counts(read=10, imported=10))
        progress.waits(90, "the limit is reached")
        progress.waits(80, "the limit is reached")
        progress.done(Counts(read=10, imported=10))
        clock[0] += LINE_SECONDS
        progress.waits(70, "the limit is reached")
        progress.waits(0.9, "not worth a word")
        progress.done(Counts(read=10, imported=10))
    assert capsys.readouterr().err.splitlines() == [
        "waypost: read 10: imported 10, already there 0, skipped 0, failed 0",
        "waypost: waiting 90 s: the limit is reached",
        "waypost: waiting 70 s: the limit is reached",
        "waypost: read 30: imported 30, already there 0, skipped 0, failed 0",
    ]


def test_programs_are_told_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with ImportProgress(100, lambda: 0, quiet=True) as progress:
        clock[0] += LINE_SECONDS
        progress.waits(90, "the limit is reached")
        progress.done(Counts(read=10, imported=10))
    assert capsys.readouterr().err == ""
