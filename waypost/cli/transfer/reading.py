"""Opens a file of links, finds out what it is, and gives its records one at a time."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from waypost.cli.transfer import csv_records, json_records
from waypost.cli.transfer.csv_records import Lines
from waypost.cli.transfer.formats import Format
from waypost.cli.transfer.records import MAX_RECORD, Entry, UnusableFile

# The longer ones first: UTF-32's begins as UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class LinkFile:
    """A file whose format is known. `size` in bytes; `sha256` of all of them, in hexadecimal."""

    path: Path
    size: int
    sha256: str
    encoding: str
    skip: int
    shape: csv_records.Header | json_records.Layout | Format
    """Of CSV its header, of JSON where the records are, of JSON lines the format alone."""

    @property
    def format(self) -> Format:
        """What its records are."""
        return self.shape if isinstance(self.shape, Format) else self.shape.format

    @contextlib.contextmanager
    def records(self) -> Iterator[Records]:
        """Its records, from the first. Raises `UnusableFile`, also later: for JSON that breaks off, say."""
        with _readable(self.path), self.path.open("rb") as file:
            file.seek(self.skip)
            yield Records(self, file)


class Records:
    """The records of an open file, in order."""

    def __init__(self, source: LinkFile, file: BinaryIO) -> None:
        self._source = source
        self._file = file

    def __iter__(self) -> Iterator[Entry]:
        shape = self._source.shape
        with _readable(self._source.path):
            if isinstance(shape, json_records.Layout):
                yield from json_records.entries(_utf8(self._file, self._source.encoding), shape)
                return
            lines = Lines(_text(self._file, self._source.encoding))
            if isinstance(shape, Format):
                yield from json_records.line_entries(lines, shape)
            else:
                csv_records.read_header(lines, shape.format)
                yield from csv_records.entries(lines, shape)

    @property
    def position(self) -> int:
        """Bytes of the file that have been read."""
        return self._file.tell()


def inspect(path: Path, *, form: Format | None = None, encoding: str | None = None) -> LinkFile:
    """Finds out what a file is. `form` and `encoding` leave no choice.

    Raises `UnusableFile` if it cannot be read, is no text of that encoding, or is in no format known here.
    """
    with _readable(path), path.open("rb") as file:
        head = file.read(4)
        mark, found = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", "utf-8"))
        used, skip = encoding or found, len(mark) if encoding in (None, found) else 0
        file.seek(skip)
        first = _first_text(_text(file, used))
        if first.lstrip()[:1] not in ("{", "["):
            file.seek(skip)
            shape: csv_records.Header | json_records.Layout | Format = csv_records.read_header(
                Lines(_text(file, used)), form
            )
        elif by_line := json_records.line_format(first, form):
            shape = by_line
        else:
            file.seek(skip)
            shape = json_records.find_layout(_utf8(file, used), form)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
        return LinkFile(path, file.tell(), digest.hexdigest(), used, skip, shape)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except UnusableFile as error:
        raise UnusableFile(str(error) if str(error).startswith(str(path)) else f"{path} {error}") from None
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeError as error:
        used = getattr(error, "encoding", "UTF-8")
        raise UnusableFile(f"{path} is not text in {used}: give its --encoding") from None


def _first_text(text: TextIO) -> str:
    """The first line that is not blank, as much of it as a record may have."""
    while line := text.readline(MAX_RECORD):
        if line.strip():
            return line
    raise UnusableFile("is empty")


def _text(file: BinaryIO, encoding: str) -> TextIO:
    # Bytes that are not UTF-8 spoil their own record only.
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    return _Text(file, encoding, errors)


class _Text(io.TextIOWrapper):
    """Text of a file that somebody else closes; line ends stay what they are."""

    def __init__(self, file: BinaryIO, encoding: str, errors: str) -> None:
        super().__init__(cast(io.BufferedReader, file), encoding=encoding, errors=errors, newline="")

    def __del__(self) -> None:
        # Collecting a wrapper closes the file beneath it.
        with contextlib.suppress(ValueError):
            self.detach()


def _utf8(file: BinaryIO, encoding: str) -> BinaryIO:
    """The file's text as bytes in UTF-8."""
    return file if encoding == "utf-8" else cast(BinaryIO, _Recoded(_text(file, encoding)))


class _Recoded:
    def __init__(self, text: TextIO) -> None:
        self._text = text

    def read(self, size: int = -1) -> bytes:
        # A character has four bytes at most.
        return self._text.read(max(size // 4, 1) if size >= 0 else _CHUNK).encode()
