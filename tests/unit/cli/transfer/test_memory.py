"""However large a file is, an import holds little of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.import_file import write_csv, write_json
from tests.e2e.shell import PROGRAMS
from tests.support.process import environment
from tests.unit.cli.transfer.files import NOW
from tests.unit.cli.transfer.server import link
from waypost.cli.transfer.batches import batches
from waypost.cli.transfer.importer import Importer
from waypost.cli.transfer.journal import Counts, Job, Journal
from waypost.cli.transfer.reading import inspect
from waypost.cli.transfer.records import Rules
from waypost.client import Link, NewLink
from waypost.errors import LinkNotFound, WaypostError

JOB = Job("ab12", "memory", "shlink", "utf-8", "", random_codes=False, batch_size=1000)


class Forgetful:
    """Makes whatever is asked for and keeps nothing of it."""

    async def batch_create(self, links: Iterable[NewLink], *, request_id: str) -> Sequence[Link | WaypostError]:
        await asyncio.sleep(0)
        return [link(one.alias, one.url, title=one.title, tags=tuple(one.tags)) for one in links]

    async def get(self, short_code: str) -> Link:
        raise LinkNotFound(short_code)


class Deaf:
    def done(self, counts: Counts) -> None: ...

    def waits(self, seconds: float, reason: str) -> None: ...


def peak(path: Path, rows: int, journal_path: Path) -> int:
    """Bytes that Python held at most while it imported the file."""
    tracemalloc.start()
    try:
        source = inspect(path)
        with Journal.open(journal_path, JOB, datetime.now(UTC)) as journal, source.records() as records:
            asyncio.run(Importer(Forgetful(), journal, Deaf()).run(batches(records, Rules(NOW), 1000)))
            assert sum((one.counts for one in journal.outcomes()), Counts()) == Counts(read=rows, imported=rows)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_csv, write_json])
def test_a_large_file_takes_no_more_memory_than_a_small_one(write: Callable[[Path, int], None], tmp_path: Path) -> None:
    peaks = {}
    for rows in (6_000, 15_000):
        write(tmp_path / "links", rows)
        peaks[rows] = peak(tmp_path / "links", rows, tmp_path / f"journal{rows}")
    # Five batches, at some 2 KiB a link, are under way at most; of the 9,000 links more not 120 bytes each stay.
    assert peaks[15_000] < 16 * 2**20
    assert peaks[15_000] < peaks[6_000] + 2**20


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_csv, write_json])
def test_the_command_itself_stays_small_with_many_records(write: Callable[[Path, int], None], tmp_path: Path) -> None:
    """Its greatest size as the kernel counts it, libraries and all."""
    sizes = {}
    for rows in (100, 40_000):
        path = tmp_path / f"links{rows}"
        write(path, rows)
        process = subprocess.Popen(
            [PROGRAMS / "waypost", "links", "import", path, "--dry-run"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as out:
            assert f"read {rows:,}: to import {rows:,}" in out.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        sizes[rows] = usage.ru_maxrss * 1024
    # All of them together would take 80 MiB.
    assert sizes[40_000] < sizes[100] + 16 * 2**20
