"""A table of links as wide as the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from waypost.cli.output import printable
from waypost.client import Link

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, what stands in it, and how far it may be cut; `least` 0: not at all."""

    head: str
    text: Callable[[Link], str]
    least: int = 0

    def of(self, link: Link) -> str:
        """What stands in it, safe for a terminal."""
        return printable(self.text(link))


COLUMNS = (
    Column("SHORT CODE", lambda link: link.short_code),
    Column("STATE", lambda link: link.state.value),
    Column("CREATED", lambda link: f"{link.created_at:%Y-%m-%d}"),
    Column("CLICKS", lambda link: f"{link.clicks_used}/{link.max_clicks}" if link.max_clicks else ""),
    Column("TAGS", lambda link: ", ".join(link.tags), least=8),
    Column("TITLE", lambda link: link.title, least=10),
    Column("DESTINATION", lambda link: link.original_url, least=16),
)

GIVEN_UP = ("TAGS", "CLICKS", "CREATED", "TITLE", "DESTINATION")
"""The columns that a narrow terminal goes without, the first of them first."""


class Table:
    """Its columns are laid out for the links it is made with and stay for those that follow.

    `width` in cells of the terminal; None: as wide as it gets.
    """

    def __init__(self, links: Sequence[Link], width: int | None) -> None:
        widths = {
            column: max([len(column.head), *(cells(column.of(link)) for link in links)])
            for column in COLUMNS
            # An empty column says nothing.
            if any(column.text(link) for link in links)
        }
        self._widths = widths if width is None else _fitted(widths, width)

    def head(self) -> str:
        """The line of heads."""
        return self._line((column.head, width) for column, width in self._widths.items())

    def row(self, link: Link) -> str:
        """The line of a link."""
        return self._line((column.of(link), width) for column, width in self._widths.items())

    def _line(self, parts: Iterable[tuple[str, int]]) -> str:
        columns = list(self._widths)
        pieces = []
        for column, (text, width) in zip(columns, parts, strict=True):
            shown = cut(text, width) if column.least else text
            pieces.append(shown + " " * (width - cells(shown)))
        return (" " * GAP).join(pieces).rstrip()


def _fitted(widths: dict[Column, int], width: int) -> dict[Column, int]:
    """As wide as each may be: without some columns if they cannot be cut enough, and the widest cut the most."""
    fitted = {column: min(wide, width) if column.least else wide for column, wide in widths.items()}

    def size(least: bool) -> int:
        wides = [min(wide, column.least or wide) if least else wide for column, wide in fitted.items()]
        return sum(wides) + GAP * (len(wides) - 1)

    for head in GIVEN_UP:
        if size(least=True) <= width:
            break
        fitted = {column: wide for column, wide in fitted.items() if column.head != head}
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
