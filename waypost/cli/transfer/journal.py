"""What an import has done so far, in a file beside its input, so that running it again goes on where it stopped.

JSON lines: a header that says what is imported where, then for each batch that it is `sent` and, once the answer is
there, that it is `done` and how. A line is one write, followed by fsync; one that a crash has torn is dropped.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from waypost.cli.transfer.records import Place, Problem

SUFFIX = ".waypost-import"
VERSION = 1
MAX_LINE = 16 * 1024 * 1024

_BEGIN = b'{"waypost_import":%d,' % VERSION
_NAMESPACE = uuid.UUID("3d1d9f5e-6c1d-5b0e-9a51-0f6f2f5a7c11")


class JournalError(Exception):
    """The journal cannot be used; `str()` says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an import is: whatever changes it makes other links, or makes them elsewhere."""

    file_sha256: str
    server: str
    format: str
    encoding: str
    prefix: str
    random_codes: bool
    batch_size: int
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many records; `read` is the sum of the four that follow. Of the imported, `tidied` were changed to fit."""

    read: int = 0
    imported: int = 0
    already_there: int = 0
    skipped: int = 0
    failed: int = 0
    tidied: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Done:
    """How a batch has ended: `problems` in the order of the file."""

    batch: int
    counts: Counts
    problems: list[Problem] = field(default_factory=list)


class Journal:
    """The journal of one import; nobody else can have it open at the same time.

    `as_of` is the time by which expired links are told, the same for all runs; `attempt` is another after a restart.
    """

    def __init__(self, path: Path, job: Job, descriptor: int) -> None:
        self.path = path
        self._job = job
        self._descriptor = descriptor
        self._done: set[int] = set()
        self._sent: dict[int, float] = {}
        self.as_of: datetime
        self.attempt = 0
        self.resumed = False

    @classmethod
    def open(cls, path: Path, job: Job, now: datetime, *, restart: bool = False) -> Self:
        """The journal of this job, begun at `now` if there is none. Raises `JournalError`."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be written: {error.strerror}") from None
        journal = cls(path, job, descriptor)
        try:
            journal._take_over(now, restart=restart)
        except BaseException:
            os.close(descriptor)
            raise
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def request_id(self, batch: int) -> str:
        """The id of a batch's request: always the same one, for the server to do it once however often it comes."""
        name = json.dumps([asdict(self._job), self.attempt, batch], sort_keys=True)
        return str(uuid.uuid5(_NAMESPACE, name))

    def is_done(self, batch: int) -> bool:
        """Whether the outcome of this batch is known."""
        return batch in self._done

    def sent_at(self, batch: int) -> float | None:
        """When this batch was first sent, in seconds since 1970; None: never."""
        return self._sent.get(batch)

    def sent(self, batch: int) -> None:
        """Notes that this batch is about to be sent."""
        if batch not in self._sent:
            self._sent[batch] = time.time()
            self._append({"sent": batch, "at": self._sent[batch]})

    def done(self, outcome: Done) -> None:
        """Notes how a batch has ended."""
        self._append(
            {
                "done": outcome.batch,
                "counts": asdict(outcome.counts),
                "problems": [[p.place.kind, p.place.number, p.kind, p.code, p.url, p.reason] for p in outcome.problems],
            }
        )
        self._done.add(outcome.batch)

    def outcomes(self) -> Iterator[Done]:
        """How each batch has ended, one at a time, in the order in which they did."""
        for line in self._lines():
            if "done" in line:
                yield Done(
                    line["done"],
                    Counts(**line["counts"]),
                    [Problem(Place(kind, number), *rest) for kind, number, *rest in line["problems"]],
                )

    def _take_over(self, now: datetime, *, restart: bool) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JournalError(f"another import of this file is running: it has {self.path} open") from None
        self._must_be_ours()
        self._drop_torn_line()
        header = next(self._lines(), None)
        if header is not None and not restart:
            self._resume(header)
            return
        if restart:
            # Also for who has lost the journal: no earlier attempt has had this number.
            self.attempt = max(int(header["attempt"]) + 1 if header else 0, int(now.timestamp()))
        self.as_of = now
        os.ftruncate(self._descriptor, 0)
        self._append(
            {
                "waypost_import": VERSION,
                "job": asdict(self._job),
                "as_of": now.isoformat(),
                "attempt": self.attempt,
            }
        )
        _sync_folder(self.path.parent)

    def _must_be_ours(self) -> None:
        """Raises `JournalError` for a file that has the journal's name by chance, before anything of it is changed."""
        begin = os.pread(self._descriptor, len(_BEGIN), 0)
        if begin != _BEGIN[: len(begin)]:
            raise JournalError(f"{self.path} is no journal of this version's: move it away")

    def _resume(self, header: dict[str, Any]) -> None:
        # Journals of earlier versions name no workspace.
        before, now = {"workspace": "", **header["job"]}, asdict(self._job)
        if changed := [name for name in now if before.get(name) != now[name]]:
            what = ", ".join(
                "the file's content" if name == "file_sha256" else f"{name} ({before.get(name)!r} before)"
                for name in changed
            )
            raise JournalError(f"an import of this file was begun with something else: {what}. {self._advice(changed)}")
        self.resumed = True
        self.as_of = datetime.fromisoformat(header["as_of"])
        self.attempt = int(header["attempt"])
        for line in self._lines():
            if "done" in line:
                self._done.add(int(line["done"]))
            elif "sent" in line:
                self._sent[int(line["sent"])] = float(line["at"])

    def _advice(self, changed: list[str]) -> str:
        """What to do about a job that has changed; links are known again by their codes alone."""
        if self._job.random_codes or "random_codes" in changed or "prefix" in changed:
            return (
                "Run it as it was begun. --restart makes ALL links once more under the new codes; to bring only those "
                "that failed, put them in a file of their own (the report lists them)"
            )
        return (
            "Run it as it was begun, or begin anew with --restart (links that are there already stay, and are counted "
            "as such)"
        )

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            while line := file.readline(MAX_LINE):
                try:
                    value = json.loads(line)
                except ValueError:
                    raise JournalError(f"{self.path} is damaged, or no journal: begin anew with --restart") from None
                yield value if isinstance(value, dict) else {}

    def _drop_torn_line(self) -> None:
        size = os.fstat(self._descriptor).st_size
        end = size
        while end > 0:
            chunk = os.pread(self._descriptor, min(end, 64 * 1024), max(0, end - 64 * 1024))
            if (found := chunk.rfind(b"\n")) >= 0:
                end += found + 1 - len(chunk)
                break
            end -= len(chunk)
        if end < size:
            os.ftruncate(self._descriptor, end)

    def _append(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError as error:
            raise JournalError(f"the journal {self.path} cannot be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Makes a new file's name as lasting as its content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
