"""The log files of processes that write by themselves."""

import os
import shutil
from pathlib import Path

import pytest

from waypost.supervisor.logs import Log


def test_a_writer_goes_on_in_the_emptied_file(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.log", max_bytes=100)
    writer = log.open()
    os.write(writer, b"x" * 100)
    assert not log.rotate()
    os.write(writer, b"y\n")
    assert log.rotate()
    os.write(writer, b"new\n")
    os.close(writer)
    assert log.path.read_bytes() == b"new\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 100 + b"y\n"
    assert log.last_line() == "new"
    assert (tmp_path / "a.log.1").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_costs_the_old_lines_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    log = Log(tmp_path / "a.log", max_bytes=10)
    writer = log.open()
    os.write(writer, b"x" * 100)
    os.close(writer)
    assert log.rotate()
    assert log.path.stat().st_size == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event": "failed", "exception": "Traceback\\n  File\\nOSError: no"}', "failed: OSError: no"),
        ('{"event": "stopped", "level": "info"}', "stopped"),
        ('{"event": "dependency down", "error": "away"}', "dependency down: away"),
        ('{"level": "info"}', '{"level": "info"}'),
        ("{oops", "{oops"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_the_last_line_is_for_people(tmp_path: Path, line: str, said: str) -> None:
    log = Log(tmp_path / "a.log")
    os.close(log.open())
    log.path.write_text(line + "\n")
    assert log.last_line() == said


def test_the_last_line_is_of_this_run(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.log")
    assert log.last_line() == ""
    writer = log.open()
    os.write(writer, b"first\nsecond\n\n  \n")
    assert log.last_line() == "second"
    os.close(writer)
    os.close(log.open())
    assert log.last_line() == ""
