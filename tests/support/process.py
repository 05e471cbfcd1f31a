"""A service as a process of its own, with its log read line by line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without any Waypost setting but these."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")} | settings


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python program to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Process:
    """A running program whose log is JSON."""

    def __init__(self, arguments: Sequence[str], settings: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._child = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment(**settings), stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._child.pid

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log so far; every line must be JSON."""
        return [json.loads(line) for line in list(self.lines)]

    def wait_for(self, event: str, seconds: float = 20, *, lines: int = 1) -> dict[str, Any]:
        """Waits for the first line of this event, or for so many of them; returns the last of these."""

        def found() -> dict[str, Any] | None:
            return next(islice((line for line in self.log if line["event"] == event), lines - 1, None), None)

        with self._changed:
            assert self._changed.wait_for(found, seconds), f"no {event!r} in {self.lines}"
        line = found()
        assert line is not None
        return line

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Sends it a signal."""
        self._child.send_signal(number)

    def end(self, seconds: float = 20) -> int:
        """Waits for its end; the exit code."""
        code = self._child.wait(seconds)
        self._reader.join(seconds)
        return code

    def kill(self) -> None:
        """Ends it, if it still runs, and lets go of its pipe."""
        if self._child.poll() is None:
            self._child.kill()
        self.end()
        if self._child.stderr:
            self._child.stderr.close()

    def _read(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()


@contextlib.contextmanager
def started(*arguments: str, **settings: str) -> Iterator[Process]:
    """A Python program for the time of the block."""
    process = Process(arguments, settings)
    try:
        yield process
    finally:
        process.kill()
