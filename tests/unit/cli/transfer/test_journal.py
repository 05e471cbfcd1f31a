"""The journal: what it says after crashes of every kind, and whom it refuses."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.cli.transfer.files import NOW
from waypost.cli.transfer.journal import Counts, Done, Job, Journal, JournalError
from waypost.cli.transfer.records import Place, Problem

JOB = Job("ab12", "http://localhost:8080", "kutt", "utf-8", "", random_codes=False, batch_size=1000)
ONE = Done(
    0, Counts(read=3, imported=1, skipped=1, failed=1), [Problem(Place("line", 2), "skipped", "a", "https://ü", "why")]
)
TWO = Done(1, Counts(read=2, imported=2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "links.csv.waypost-import"


def begin(path: Path, job: Job = JOB, *, restart: bool = False) -> Journal:
    return Journal.open(path, job, NOW, restart=restart)


def test_what_was_done_is_known_to_the_next_run(path: Path) -> None:
    with begin(path) as journal:
        assert not journal.resumed
        journal.sent(0)
        journal.sent(1)
        journal.done(TWO)
        journal.done(ONE)
        journal.sent(2)
    with Journal.open(path, JOB, NOW + timedelta(days=3)) as journal:
        assert journal.resumed
        assert journal.as_of == NOW
        assert [journal.is_done(batch) for batch in range(3)] == [True, True, False]
        assert journal.sent_at(2) is not None
        assert journal.sent_at(3) is None
        assert list(journal.outcomes()) == [TWO, ONE]


def test_the_first_time_that_a_batch_was_sent_counts(path: Path) -> None:
    with begin(path) as journal:
        journal.sent(0)
        first = journal.sent_at(0)
    with begin(path) as journal:
        journal.sent(0)
        assert journal.sent_at(0) == first


def test_every_prefix_of_a_journal_is_a_journal(path: Path) -> None:
    with begin(path) as journal:
        journal.done(ONE)
        journal.done(TWO)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with begin(path) as journal:
            complete = sum(end <= length for end in ends)
            assert [one.batch for one in journal.outcomes()] == [0, 1][: max(complete - 1, 0)]
            assert journal.resumed is (complete > 0)
            # What comes next does not stick to what was torn off.
            journal.done(replace(TWO, batch=7))
        with begin(path) as journal:
            assert journal.is_done(7)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"file_sha256": "cd34"}, "the file's content"),
        ({"server": "http://other:1"}, "server ('http://localhost:8080' before)"),
        ({"prefix": "x-", "batch_size": 10}, "prefix ('' before), batch_size (1000 before)"),
        ({"random_codes": True}, "random_codes (False before)"),
        ({"workspace": "w"}, "workspace ('' before)"),
    ],
)
def test_another_job_is_refused_until_it_is_begun_anew(change: dict[str, object], told: str, path: Path) -> None:
    with begin(path) as journal:
        journal.done(ONE)
    other = replace(JOB, **change)  # type: ignore[arg-type]
    with pytest.raises(JournalError) as caught:
        begin(path, other)
    assert str(caught.value).startswith(f"an import of this file was begun with something else: {told}.")
    assert "--restart" in str(caught.value)
    with begin(path, other, restart=True) as journal:
        assert not journal.resumed
        assert list(journal.outcomes()) == []


@pytest.mark.parametrize(
    ("before", "now", "again"),
    [
        (JOB, replace(JOB, prefix="p-"), True),
        (JOB, replace(JOB, random_codes=True), True),
        (replace(JOB, random_codes=True), JOB, True),
        (replace(JOB, random_codes=True), replace(JOB, random_codes=True, encoding="cp1252"), True),
        (JOB, replace(JOB, encoding="cp1252"), False),
        (replace(JOB, prefix="p-"), replace(JOB, prefix="p-", file_sha256="cd34"), False),
    ],
)
def test_a_restart_that_would_make_all_links_once_more_is_said_to_do_so(
    before: Job, now: Job, again: bool, path: Path
) -> None:
    with begin(path, before):
        pass
    with pytest.raises(JournalError) as caught:
        begin(path, now)
    assert ("--restart makes ALL links once more" in str(caught.value)) is again
    assert ("put them in a file of their own" in str(caught.value)) is again
    assert ("are counted as such" in str(caught.value)) is not again


def test_ids_of_requests_are_the_same_for_the_same_and_differ_for_all_else(path: Path) -> None:
    with begin(path) as journal:
        first = [journal.request_id(batch) for batch in range(100)]
    with begin(path) as journal:
        assert [journal.request_id(batch) for batch in range(100)] == first
    assert len(set(first)) == 100
    assert {uuid.UUID(one).version for one in first} == {5}
    # Who has lost the journal still does nothing twice.
    path.unlink()
    with begin(path) as journal:
        assert journal.request_id(0) == first[0]
    with begin(path, restart=True) as journal:
        assert journal.request_id(0) != first[0]
        second = journal.request_id(0)
    with begin(path, replace(JOB, server="http://other:1"), restart=True) as journal:
        assert journal.request_id(0) not in (first[0], second)
    path.unlink()
    with begin(path, restart=True) as journal:
        assert journal.request_id(0) != first[0]
    with begin(path, restart=True) as journal:
        assert journal.request_id(0) not in (first[0], second)


def test_two_imports_of_one_file_at_a_time_are_refused(path: Path) -> None:
    with begin(path) as journal:
        with pytest.raises(JournalError, match="another import of this file is running"):
            begin(path)
        journal.done(ONE)
    with begin(path) as journal:
        assert journal.is_done(0)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("content", ["my notes", "my notes\n", '{"a": 1}\n', '{"waypost_import":2,"job":{}}\n'])
def test_a_file_that_is_no_journal_is_left_alone(content: str, restart: bool, path: Path) -> None:
    path.write_text(content)
    with pytest.raises(JournalError, match="is no journal of this version's: move it away"):
        begin(path, restart=restart)
    assert path.read_text() == content


def test_a_damaged_journal_is_refused_until_it_is_begun_anew(path: Path) -> None:
    with begin(path) as journal:
        journal.done(ONE)
    path.write_bytes(path.read_bytes() + b"\x00\x00\n" + json.dumps({"done": 1}).encode() + b"\n")
    with pytest.raises(JournalError, match="is damaged"):
        begin(path)
    with begin(path, restart=True) as journal:
        assert not journal.is_done(0)


def test_a_journal_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be written: No such file or directory"):
        begin(tmp_path / "none" / "journal")
    with pytest.raises(JournalError, match="cannot be written: Is a directory"):
        begin(tmp_path)


def test_it_is_its_owners_alone(path: Path) -> None:
    with begin(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_it_leaves_no_descriptor_open(path: Path) -> None:
    def held() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path would hold one itself

    before = held()
    with begin(path) as journal:
        journal.done(ONE)
        list(journal.outcomes())
    with pytest.raises(JournalError):
        begin(path, replace(JOB, prefix="x"))
    assert held() == before
