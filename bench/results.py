"""What the parts of the benchmark measure, as JSON in build/bench: a median and its spread for each figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
"""Where programs are built to and results are kept; not part of the source."""

RUNS = 5


class Figure(TypedDict):
    """The middle one of several runs, with the least and the most."""

    median: float
    min: float
    max: float


def figure(values: Iterable[float]) -> Figure:
    """The median of `values` with their spread; ValueError when there are none."""
    numbers = [float(value) for value in values]
    if not numbers:
        raise ValueError("no run gave a figure")
    return Figure(median=statistics.median(numbers), min=min(numbers), max=max(numbers))


def save(part: str, content: dict[str, Any]) -> Path:
    """Keeps what `part` measured; the file appears whole or not at all."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{_stem(part)}.json"
    new = path.with_suffix(".json.new")
    new.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return new.replace(path)


def load(part: str) -> dict[str, Any] | None:
    """What `part` measured last; None if it did not."""
    try:
        content: dict[str, Any] = json.loads((BUILD / f"{_stem(part)}.json").read_text())
    except FileNotFoundError:
        return None
    return content


def forget(part: str) -> None:
    """Removes what `part` measured last."""
    (BUILD / f"{_stem(part)}.json").unlink(missing_ok=True)


def _stem(part: str) -> str:
    return part.replace("-", "_")
