"""The log file of one process: written by the process itself, kept short by the supervisor."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 65_536
LINE_CHARACTERS = 300


class Log:
    """`<data>/logs/<name>.log`, and `<name>.log.1` before it.

    A process writes straight into the file: neither a slow nor a stopped supervisor holds it up. It keeps its file for
    as long as it lives, so the file is not renamed but copied and emptied; what is written between these two steps,
    some microseconds apart, is lost.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._old = path.with_name(path.name + ".1")
        self._max_bytes = max_bytes
        self._mark = 0

    def open(self) -> int:
        """A descriptor to append to, for the child that is being started; the caller closes it. Raises `OSError`."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._mark = os.fstat(fd).st_size
        return fd

    def last_line(self) -> str:
        """The last line with something in it that was written since `open`; empty if there is none."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                # A file shorter than the mark has been emptied since.
                begin = self._mark if size >= self._mark else 0
                file.seek(max(begin, size - TAIL_BYTES))
                lines = file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return _for_people(next((line.strip() for line in reversed(lines) if line.strip()), ""))

    def rotate(self) -> bool:
        """Moves the content aside if the file has grown too long; whether it did.

        When the disk is full the old content is given up: a log must never be what fills it.
        """
        try:
            if self.path.stat().st_size <= self._max_bytes:
                return False
            self._old.unlink(missing_ok=True)
            try:
                shutil.copyfile(self.path, self._old)
                self._old.chmod(0o600)
            except OSError:
                self._old.unlink(missing_ok=True)
            os.truncate(self.path, 0)
        except OSError:
            return False
        return True


def _for_people(line: str) -> str:
    """What a line says: of a service's JSON line the event and, if there is one, the end of the exception."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            fields = {}
        trace = str(fields.get("exception", "")).strip().splitlines()
        words = [str(fields.get("event", "")), trace[-1] if trace else str(fields.get("error", ""))]
        line = ": ".join(word for word in words if word) or line
    return line[:LINE_CHARACTERS]
