"""Where log lines go: to a file at once, or together with the others of one turn of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import BinaryIO, TextIO, cast


class LogWriter:
    """Writes lines to a binary file, such as standard error; may be used from any thread.

    Each call writes a line, and to write it costs as much as the call, more where a pipe wakes its reader each time:
    so those may wait for the end of the turn, a fraction of a millisecond. Every line written at once goes after them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        self._due_in: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        """Writes whole lines at once, and before them those that wait. Raises `OSError`."""
        with self._lock:
            # By number: another thread may add to them meanwhile.
            number = len(self._waiting)
            if number:
                line = b"".join(self._waiting[:number]) + line
                del self._waiting[:number]
            self._file.write(line)
            self._file.flush()

    def flush(self) -> None:
        """Nothing is kept back."""

    def text(self) -> TextIO:
        """The same for those who write text, such as handlers of `logging`."""
        return cast(TextIO, _Text(self))

    def soon(self, line: bytes) -> None:
        """Writes the line, with its end, in this turn of the running loop; at once where none runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write(line)
            return
        self._waiting.append(line)
        if self._due_in is not loop:
            self._due_in = loop
            loop.call_soon(self._write_waiting)

    def _write_waiting(self) -> None:
        # First, so that a line that comes from now on has a turn of its own.
        self._due_in = None
        # There is nowhere to tell of it.
        with contextlib.suppress(OSError):
            self.write(b"")


class _Text:
    """Of a text file what a log handler uses."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def write(self, text: str) -> None:
        self._writer.write(text.encode(errors="backslashreplace"))

    def flush(self) -> None:
        self._writer.flush()
