"""The plain definitions and their compiled twins, for tests that hold for both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import native.limits
import native.table
from native.limits import Algorithm, Limit
from native.request import Elsewhere, Mode, Question

try:
    import native._limits
    import native._table

    # Where the core cannot be compiled the product runs without it; `test_compiled.py` fails then, and alone.
    COMPILED: dict[str, tuple[Any, Any]] = {"compiled": (native._limits, native._table.Table)}
except ImportError:
    COMPILED = {}

TWINS = {"plain": (native.limits, native.table.Table)} | COMPILED
CORES = {name: core for name, (core, _) in TWINS.items()}
TABLES = {name: table for name, (_, table) in TWINS.items()}

both_cores = pytest.mark.parametrize("core", CORES.values(), ids=CORES)
"""Runs a test with the functions of `native.limits`, plain and compiled."""
both_tables = pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
"""Runs a test with the classes of plain and compiled tables."""

AnyTable: TypeAlias = "native.table.Table | native._table.Table"
VECTORS = Path(__file__).parents[2] / "vectors"


def vectors(*names: str) -> Iterator[Any]:
    """Parameters: the cases of these files."""
    for name in names:
        for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]:
            yield pytest.param(case, id=f"{name}: {case['about']}")


def limit_of(case: dict[str, Any]) -> Limit:
    """A limit as vectors write it."""
    return Limit(Algorithm(case["algorithm"]), case["limit"], case["window_us"], case.get("burst"))


def questions_of(step: dict[str, Any]) -> list[Question]:
    """The questions of a step in `requests.json`."""
    return [
        Question(
            tuple(question["rule"]),
            tuple(question["values"]),
            limit_of(question["limit"]),
            question["hits"],
            question["descriptor"],
            mode_of(question["mode"]),
        )
        for question in step["questions"]
    ]


def mode_of(names: list[str]) -> Mode:
    """A mode as vectors write it."""
    mode = Mode.PLAIN
    for name in names:
        mode |= Mode[name.upper()]
    return mode


def elsewhere_of(step: dict[str, Any]) -> Elsewhere:
    """What other stores said, in a step of `requests.json`."""
    return Elsewhere(**step.get("elsewhere", {}))
