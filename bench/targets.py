"""What a measured figure shall be at least, or at most, and the sentence that says whether it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NotRequired, TypedDict

from bench.results import Figure, figure


class Target(TypedDict):
    """A figure of several runs in `unit`, and its bound: `least`, or what it must stay `below`; without, it is told.

    Or, without a figure, `why` there is none, which counts as missed.
    """

    what: str
    figure: NotRequired[Figure]
    unit: NotRequired[str]
    why: NotRequired[str]
    least: NotRequired[float]
    below: NotRequired[float]


def at_least(what: str, values: Iterable[float], unit: str, least: float) -> Target:
    """Of a figure that shall not be smaller."""
    return Target(what=what, figure=figure(values), unit=unit, least=least)


def below(what: str, values: Iterable[float], unit: str, bound: float) -> Target:
    """Of a figure that shall be smaller."""
    return Target(what=what, figure=figure(values), unit=unit, below=bound)


def told(what: str, values: Iterable[float], unit: str) -> Target:
    """Of a figure that nothing is asked of."""
    return Target(what=what, figure=figure(values), unit=unit)


def missed(what: str, why: str) -> Target:
    """Of what could not be measured because it is too far from what it shall be."""
    return Target(what=what, why=why)


def ratios(ours: Sequence[float], *others: Sequence[float]) -> list[float]:
    """How many times the best of the others ours is, run by run."""
    return [own / max(rest) for own, *rest in zip(ours, *others, strict=True)]


def sentence(target: dict[str, Any]) -> str:
    """A `Target` as a line of the page; the median decides."""
    if "why" in target:
        return f"{target['what']}: {target['why']}: **missed**"
    unit, middle = target["unit"], target["figure"]["median"]
    low, high = (_number(target["figure"][end]) for end in ("min", "max"))
    text = f"{target['what']}: {_number(middle)} {unit} ({low}–{high})"
    if "least" in target:
        met, asked = middle >= target["least"], f"at least {target['least']:,g} {unit}"
    elif "below" in target:
        met, asked = middle < target["below"], f"below {target['below']:,g} {unit}"
    else:
        return text
    return f"{text}, target {asked}: {'met' if met else '**missed**'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"
