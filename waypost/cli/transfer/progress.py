"""How an import says how far it is: a bar on a terminal, a line now and then elsewhere, nothing for programs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from waypost.cli.transfer.journal import Counts
from waypost.cli.transfer.report import sentence

LINE_SECONDS = 10.0
"""Between two lines of the same kind where there is no terminal."""


class ImportProgress:
    """Follows an import through a file of `size` bytes, of which `position()` are read; `counts` so far."""

    def __init__(self, size: int, position: Callable[[], int], *, quiet: bool, counts: Counts | None = None) -> None:
        console = Console(stderr=True)
        self._position = position
        self._counts = counts or Counts()
        # That it waits is told at once, however much it has told of what is done.
        self._last_line = {"done": time.monotonic(), "waits": -math.inf}
        self._quiet = quiet
        self._bar: Progress | None = None
        if console.is_terminal and not quiet:
            columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=console, transient=True, refresh_per_second=4)
            self._task = self._bar.add_task("", total=max(size, 1))

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def done(self, counts: Counts) -> None:
        """Some more records have been dealt with."""
        self._counts += counts
        if self._bar is not None:
            self._bar.update(self._task, completed=self._position(), description=sentence(self._counts))
        else:
            self._line("done", sentence(self._counts))

    def waits(self, seconds: float, reason: str) -> None:
        """Nothing is sent for a while."""
        text = f"waiting {seconds:,.0f} s: {reason}"
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        elif seconds >= 1:
            self._line("waits", text)

    def _line(self, kind: Literal["done", "waits"], text: str) -> None:
        now = time.monotonic()
        if not self._quiet and now - self._last_line[kind] >= LINE_SECONDS:
            self._last_line[kind] = now
            click.echo(f"waypost: {text}", err=True)
