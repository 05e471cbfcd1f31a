"""A table as wide as the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from waypost.cli.output import printable

T = TypeVar("T")

GAP = 2


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column: its head, what stands in it, and how far it may be cut; `least` 0: not at all.

    A narrow terminal goes without columns that have a `worth`, the least first; 0: never without this one.
    """

    head: str
    text: Callable[[T], str]
    least: int = 0
    worth: int = 0

    def of(self, row: T) -> str:
        """What stands in it, safe for a terminal."""
        return printable(self.text(row))


class Table(Generic[T]):
    """Its columns are laid out for the rows it is made with and stay for those that follow.

    `width` in cells of the terminal; None: as wide as it gets.
    """

    def __init__(self, columns: Sequence[Column[T]], rows: Sequence[T], width: int | None) -> None:
        widths = {
            column: max([len(column.head), *(cells(column.of(row)) for row in rows)])
            for column in columns
            # An empty column says nothing.
            if any(column.text(row) for row in rows)
        }
        self._widths = widths if width is None else _fitted(widths, width)

    def head(self) -> str:
        """The line of heads."""
        return self._line((column.head, width) for column, width in self._widths.items())

    def row(self, row: T) -> str:
        """The line of a row."""
        return self._line((column.of(row), width) for column, width in self._widths.items())

    def _line(self, parts: Iterable[tuple[str, int]]) -> str:
        columns = list(self._widths)
        pieces = []
        for column, (text, width) in zip(columns, parts, strict=True):
            shown = cut(text, width) if column.least else text
            pieces.append(shown + " " * (width - cells(shown)))
        return (" " * GAP).join(pieces).rstrip()


def _fitted(widths: dict[Column[T], int], width: int) -> dict[Column[T], int]:
    """As wide as each may be: without some columns if they cannot be cut enough, and the widest cut the most."""
    fitted = {column: min(wide, width) if column.least else wide for column, wide in widths.items()}

    def size(least: bool) -> int:
        wides = [min(wide, column.least or wide) if least else wide for column, wide in fitted.items()]
        return sum(wides) + GAP * (len(wides) - 1)

    for given_up in sorted((column for column in widths if column.worth), key=lambda column: column.worth):
        if size(least=True) <= width:
            break
        del fitted[given_up]
    for _ in range(size(least=False) - width):
        column = max(fitted, key=lambda one: fitted[one] - one.least if one.least else 0)
        if not column.least or fitted[column] <= column.least:
            break
        fitted[column] -= 1
    return fitted


def cells(text: str) -> int:
    """How many cells of a terminal the text takes."""
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells, with `…` at its end if something is missing."""
    if cells(text) <= width:
        return text
    taken, left = [], width - 1
    for char in text:
        left -= _cells(char)
        if left < 0:
            break
        taken.append(char)
    return "".join(taken) + "…"
