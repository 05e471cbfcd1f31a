"""What became of an import: a table of all records that were not imported, and the sums, for people and programs."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from waypost.cli.transfer.formats.waypost import guard
from waypost.cli.transfer.journal import Counts
from waypost.cli.transfer.records import Problem
from waypost.cli.transfer.whole_file import written_whole

SUFFIX = ".waypost-report.csv"
SHOWN = 20
"""Problems that are told on the terminal; the file has all."""

COLUMNS = ("place", "number", "result", "code", "url", "reason")


class Report:
    """Takes problems one at a time: writes them all to a file, whole or not at all, and keeps the first `SHOWN`.

    To be used as a context; the file is there when it ends, and only if there was something to write. If it cannot be
    written, `failure` says why: nothing else is to be lost for that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first: list[Problem] = []
        self.total = 0
        self.failure = ""
        self._stack = contextlib.ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, traceback)
        except OSError as failure:
            self.failure = _why(failure)

    @property
    def written(self) -> bool:
        """Whether there is such a file, once this has ended."""
        return self.total > 0 and not self.failure

    def add(self, problem: Problem) -> None:
        """Takes the next one."""
        self.total += 1
        if len(self.first) < SHOWN:
            self.first.append(problem)
        if not self.failure:
            try:
                self._write(problem)
            except OSError as error:
                self.failure = _why(error)
                # It ends as it does for any error: what is written of it so far goes.
                with contextlib.suppress(OSError):
                    self._stack.__exit__(type(error), error, error.__traceback__)

    def _write(self, problem: Problem) -> None:
        if self._writer is None:
            self._writer = csv.writer(self._stack.enter_context(written_whole(self.path)))
            self._writer.writerow(COLUMNS)
        place = problem.place
        self._writer.writerow(
            [place.kind, place.number, problem.kind, *map(guard, (problem.code, problem.url, problem.reason))]
        )

    def lines(self) -> Iterator[str]:
        """What people are told of it."""
        for problem in self.first:
            code = f" ({problem.code})" if problem.code else ""
            yield f"{problem.place}{code} {problem.kind}: {problem.reason}"
        if left := self.total - len(self.first):
            yield f"and {left:,} more" + (f"; all of them are in {self.path}" if self.written else "")
        elif self.written:
            yield f"the same is in {self.path}"


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def sentence(counts: Counts, *, dry_run: bool = False) -> str:
    """The sums in one line, for people."""
    imported = "to import" if dry_run else "imported"
    parts = [f"{imported} {counts.imported:,}"]
    if not dry_run:
        parts.append(f"already there {counts.already_there:,}")
    parts += [f"skipped {counts.skipped:,}", f"failed {counts.failed:,}"]
    return f"read {counts.read:,}: {', '.join(parts)}"
