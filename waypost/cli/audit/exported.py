"""The file of an export: written page by page, and read from its end to go on where it was cut off."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

BLOCK = 64 * 1024
MAX_LINE = 1024 * 1024
"""Bytes of a line: no event has so many."""


class Unusable(Exception):
    """The file cannot be gone on with; `str()` says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an export has come: the time of the last event, and the ids of all that were written of this time."""

    at: datetime
    ids: frozenset[str]


class ExportFile:
    """The file, for its owner alone to read. Raises `OSError`, `FileExistsError` among them unless `resume`.

    With `resume` a line that was cut off is taken out, and `reached` is where to go on; None: at the beginning.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if resume else os.O_EXCL)
        self._path = path
        self._made = not resume
        self._descriptor = os.open(path, flags, 0o600)
        self.reached: Reached | None = None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if resume:
                self.reached = self._take_up()
        except BlockingIOError:
            os.close(self._descriptor)
            raise Unusable(f"{path} is being written by another export") from None
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # One in which there is nothing would only be in the way of the next attempt.
        if error is not None and self._made and os.fstat(self._descriptor).st_size == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def write(self, lines: Sequence[str]) -> None:
        """Adds lines; they last once this returns."""
        data = memoryview("".join(f"{line}\n" for line in lines).encode())
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)

    def _take_up(self) -> Reached | None:
        size = os.fstat(self._descriptor).st_size
        backwards = self._lines_from_the_end(size)
        # What stands behind the last line break was cut off, unless that is nothing.
        torn = next(backwards, b"")
        at, ids = None, set()
        for line in backwards:
            when, event_id = self._event(line)
            if at is not None and when != at:
                break
            at = when
            ids.add(event_id)
        if at is None and size > 0 and not torn.startswith(b'{"event_id":'[: len(torn)]):
            raise self._foreign()
        os.ftruncate(self._descriptor, size - len(torn))
        os.lseek(self._descriptor, 0, os.SEEK_END)
        return None if at is None else Reached(at, frozenset(ids))

    def _lines_from_the_end(self, size: int) -> Iterator[bytes]:
        """The last line first; what stands behind the last line break is the first of them, even if it is nothing."""
        rest, place = b"", size
        while place > 0:
            length = min(BLOCK, place)
            place -= length
            first, *lines = (os.pread(self._descriptor, length, place) + rest).split(b"\n")
            yield from reversed(lines)
            rest = first
            if len(rest) > MAX_LINE:
                raise self._foreign()
        yield rest

    def _event(self, line: bytes) -> tuple[datetime, str]:
        try:
            event = json.loads(line)
            when = datetime.fromisoformat(event["occurred_at"])
            event_id = event["event_id"]
        except (ValueError, KeyError, TypeError):
            raise self._foreign() from None
        if when.utcoffset() is None or not isinstance(event_id, str):
            raise self._foreign()
        return when, event_id

    def _foreign(self) -> Unusable:
        return Unusable(f"{self._path} is no export of the audit log: give another file")
