"""Records of JSON: whatever encloses them, one after the other, without ever holding the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import ijson  # type: ignore[import-untyped]

from waypost.cli.transfer.csv_records import Lines, unrecognised
from waypost.cli.transfer.formats import Format, normal_name, recognise
from waypost.cli.transfer.records import MAX_RECORD, TOO_LARGE, Entry, Place, UnusableFile

MAX_DEPTH = 64
MAX_LOOK = 4 * 1024 * 1024
"""Bytes within which the first record must come."""

_CHUNK = 64 * 1024
_MAX_VALUE = 16 * _CHUNK
_MAX_NAMES = 1000

Path = tuple[str, ...]
"""Where a value stands: names of fields, and `[]` for a place in an array."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the records of a file are: directly in what stands at `parent`; None: they stand by themselves."""

    format: Format
    parent: Path | None


@dataclass(slots=True)
class _Frame:
    """An array or object that is not over yet."""

    array: bool
    name: str = "[]"
    names: list[str] = field(default_factory=list)


class _Bounded:
    """Lets a parser read only so much without finding the end of a value: it would hold all of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unanswered = 0
        self.total = 0

    def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""
        if self._unanswered > _MAX_VALUE:
            raise UnusableFile(f"has a value of more than {_MAX_VALUE // 1024:,} KiB: take it out")
        found = self._file.read(size)
        self._unanswered += len(found)
        self.total += len(found)
        return found

    def answered(self) -> None:
        self._unanswered = 0


def find_layout(file: BinaryIO, forced: Format | None) -> Layout:
    """Finds the first object that is a record of ours. Raises `UnusableFile` if there is none."""
    source = _Bounded(file)
    stack: list[_Frame] = []
    seen: list[str] = []
    for event, value in _events(source):
        if event == "map_key":
            stack[-1].name = value
            if len(stack[-1].names) < _MAX_NAMES:
                stack[-1].names.append(value)
        elif event in ("start_map", "start_array"):
            _push(stack, event == "start_array")
        elif event in ("end_map", "end_array"):
            frame = stack.pop()
            if frame.array:
                continue
            if form := recognise([normal_name(name) for name in frame.names], forced):
                return Layout(form, _path(stack) if stack else None)
            if len(frame.names) > len(seen):
                seen = frame.names
        if source.total > MAX_LOOK:
            break
    raise UnusableFile(unrecognised("fields", seen or [name for frame in stack for name in frame.names], forced))


def entries(file: BinaryIO, layout: Layout) -> Iterator[Entry]:
    """The records, in the order of the file."""
    source = _Bounded(file)
    stack: list[_Frame] = []
    path: Path = ()
    number = 0
    builder: ijson.ObjectBuilder | None = None
    size = depth = 0
    for event, value in _events(source):
        if builder is not None:
            size += len(value) + 8 if isinstance(value, str) else 8
            depth += (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))
            if depth > MAX_DEPTH:
                raise UnusableFile(f"is nested deeper than {MAX_DEPTH}")
            if size <= MAX_RECORD:
                builder.event(event, value)
            if depth == 0:
                place = Place("record", number)
                yield _entry(place, builder.value, layout.format) if size <= MAX_RECORD else _too_large(place)
                builder = None
        elif event == "start_map" and (path == layout.parent if stack else layout.parent is None):
            number, size, depth = number + 1, 0, 1
            builder = ijson.ObjectBuilder()
            builder.event(event, value)
        elif event == "map_key":
            stack[-1].name = value
        elif event in ("start_map", "start_array"):
            _push(stack, event == "start_array")
            path = _path(stack)
        elif event in ("end_map", "end_array"):
            stack.pop()
            path = _path(stack)


def line_format(line: str, forced: Format | None) -> Format | None:
    """The format of a file whose first line is this, if it has one JSON object a line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return recognise([normal_name(name) for name in value], forced) if isinstance(value, dict) else None


def line_entries(lines: Lines, form: Format) -> Iterator[Entry]:
    """The records of a file with one JSON object a line."""
    while (found := lines.next()) is not None:
        number, line = found
        place = Place("line", number)
        if line is None or len(line) > MAX_RECORD:
            yield _too_large(place)
        elif line.strip():
            try:
                yield _entry(place, json.loads(line), form)
            except (ValueError, RecursionError):
                yield Entry(place, problem="it is not valid JSON: is the file cut off?")


def _too_large(place: Place) -> Entry:
    return Entry(place, problem=TOO_LARGE, kind="skipped")


def _entry(place: Place, value: Any, form: Format) -> Entry:
    if not isinstance(value, dict):
        return Entry(place, problem="it is no JSON object")
    return Entry(place, form.draft({normal_name(str(name)): one for name, one in value.items()}))


def _events(source: _Bounded) -> Iterator[tuple[str, Any]]:
    try:
        # Several answers of an API, saved one after the other, are several values.
        for event, value in ijson.basic_parse(source, multiple_values=True, buf_size=_CHUNK):
            source.answered()
            yield event, value
    except ijson.JSONError as error:
        cause = error.args[0] if error.args else ""
        text = cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)
        raise UnusableFile(f"is not valid JSON: {text.splitlines()[0] if text else 'it ends too early'}") from None


def _push(stack: list[_Frame], array: bool) -> None:
    if len(stack) == MAX_DEPTH:
        raise UnusableFile(f"is nested deeper than {MAX_DEPTH}")
    stack.append(_Frame(array))


def _path(stack: list[_Frame]) -> Path:
    """Where the values directly in the innermost array or object stand."""
    return (*(frame.name for frame in stack[:-1]), "[]" if stack[-1].array else "{}") if stack else ()
