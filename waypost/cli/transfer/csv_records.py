"""Records of CSV: rows of any delimiter, quoted line breaks and all, each with the line it begins on."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from waypost.cli.output import counted
from waypost.cli.transfer.formats import FORMATS, Format, normal_name, recognise
from waypost.cli.transfer.records import MAX_RECORD, TOO_LARGE, Entry, Place, UnusableFile, readable

MAX_SPAN = 1024 * 1024
"""Characters within which a quote must be closed; beyond, it was never meant to open."""

DELIMITERS = (",", ";", "\t", "|")
MAX_COLUMNS = 1000


@dataclass(frozen=True, slots=True)
class Header:
    """What the first row says: the format, how cells are separated, and the normalised name of each column."""

    format: Format
    delimiter: str
    names: tuple[str, ...]


class Lines:
    """Lines of a text with their numbers, which can be taken back; none is longer than `MAX_SPAN`."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._returned: deque[tuple[int, str | None]] = deque()
        self._number = 0

    def next(self) -> tuple[int, str | None] | None:
        """The next line and its number, with its end; its text is None if it is too long. None at the end of all."""
        if self._returned:
            return self._returned.popleft()
        line = self._text.readline(MAX_SPAN)
        if not line:
            return None
        self._number += 1
        number = self._number
        if len(line) < MAX_SPAN or line.endswith(("\n", "\r")):
            return number, line
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(MAX_SPAN)
        return number, None

    def take_back(self, lines: Sequence[tuple[int, str | None]]) -> None:
        """Lets `next` give these lines again."""
        self._returned.extendleft(reversed(lines))


class _Record:
    """Gives `csv.reader` the lines of one record, as many as it asks for, and remembers them."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.taken: list[tuple[int, str | None]] = []
        self.size = 0
        self.torn = False
        """Whether the record was not over when there was nothing more to give."""

    def begin(self) -> None:
        self.taken, self.size, self.torn = [], 0, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        found = self._lines.next() if self.size < MAX_SPAN else None
        if found is None or (found[1] is None and self.taken):
            if found is not None:
                self._lines.take_back([found])
            self.torn = bool(self.taken)
            raise StopIteration
        self.taken.append(found)
        line = found[1] or "\n"
        self.size += len(line)
        return line


def rows(lines: Lines, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Rows with the number of the line each begins on: its cells, or a sentence about why they cannot be told.

    Empty lines are no rows.
    """
    csv.field_size_limit(MAX_SPAN * 2)
    source = _Record(lines)
    reader = csv.reader(source, delimiter=delimiter)
    while True:
        source.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        number, first = source.taken[0]
        if source.torn:
            # Everything that follows would be lost in a field that was never meant to go on.
            lines.take_back(source.taken[1:])
            reader = csv.reader(source, delimiter=delimiter)
            yield number, "a quote opens in it that is never closed"
        elif first is None or source.size > MAX_RECORD:
            yield number, TOO_LARGE
        elif cells:
            yield number, cells


def read_header(lines: Lines, forced: Format | None) -> Header:
    """Finds out from the first row what the file is. Raises `UnusableFile` for one that is nothing of ours."""
    found = lines.next()
    while found is not None and found[1] is not None and _no_header(found[1]):
        found = lines.next()
    if found is None:
        raise UnusableFile("is empty")
    if found[1] is None or len(found[1]) > MAX_RECORD:
        raise UnusableFile("has no header: its first line is very long")
    best: list[str] = []
    for delimiter in DELIMITERS:
        cells = next(csv.reader([found[1]], delimiter=delimiter))[:MAX_COLUMNS]
        names = tuple(normal_name(cell) for cell in cells)
        if form := recognise(names, forced):
            return Header(form, delimiter, names)
        best = max(best, cells, key=len)
    raise UnusableFile(unrecognised("columns", best, forced))


def unrecognised(what: str, names: Sequence[str], forced: Format | None) -> str:
    """What a file has and what it should have."""
    shown = ", ".join(readable(name.strip(), 40) for name in names[:20]) + (", …" if len(names) > 20 else "")
    wanted = "; ".join(f"{one.system}: {one.columns}" for one in ([forced] if forced else FORMATS.values()))
    return f"is in no format known here: it has the {what} {shown or '(none)'}; expected are those of {wanted}"


def entries(lines: Lines, header: Header) -> Iterator[Entry]:
    """The records after the header."""
    for number, cells in rows(lines, header.delimiter):
        place = Place("line", number)
        if isinstance(cells, str):
            yield Entry(place, problem=cells, kind="skipped" if cells == TOO_LARGE else "failed")
            continue
        width = len(header.names)
        if len(cells) > width and not any(cells[width:]):
            cells = cells[:width]
        fields: dict[str, str] = {}
        for name, cell in zip(header.names, cells, strict=False):
            fields.setdefault(name, header.format.cell(cell))
        draft = header.format.draft(fields)
        if len(cells) == width:
            yield Entry(place, draft)
        else:
            # A delimiter that is not quoted, or a file that was cut off: a part of a URL may look like a URL.
            has = f"it has {counted(len(cells), 'cell')} where the header has {width}"
            yield Entry(place, draft, problem=f"{has}: is something not quoted, or cut off?")


def _no_header(line: str) -> bool:
    # Spreadsheets write and read a first line that names the delimiter.
    return not line.strip() or (line.lower().startswith("sep=") and len(line.strip()) <= len("sep=\t"))
