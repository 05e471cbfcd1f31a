"""The data directory: its modes, its format, and folders that are not ours."""

import os
import stat
from pathlib import Path

import pytest

from waypost.supervisor.data_dir import FORMAT, DataDir
from waypost.supervisor.errors import CannotStart, DataDirectoryTooNew


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("user", "mode"), [(0, 0o711), (1000, 0o700)])
def test_a_new_one_is_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    data = DataDir(tmp_path / "a" / "b")
    data.prepare()
    data.prepare()
    assert _mode(data.path) == mode
    assert _mode(data.logs) == 0o700
    assert data.version.read_text() == f"{FORMAT}\n"


def test_one_of_a_newer_waypost_is_refused(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.prepare()
    data.version.write_text("7\n")
    with pytest.raises(DataDirectoryTooNew, match="newer Waypost") as caught:
        data.prepare()
    assert caught.value.exit_code == 2


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    before = _mode(tmp_path)
    with pytest.raises(CannotStart, match="neither empty nor a Waypost data directory"):
        DataDir(tmp_path).prepare()
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    assert _mode(tmp_path) == before


def test_a_file_in_its_place_and_a_broken_format_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="WAYPOST_DATA_DIR"):
        DataDir(tmp_path / "file").prepare()
    with pytest.raises(CannotStart, match="WAYPOST_DATA_DIR"):
        DataDir(tmp_path / "file" / "below").prepare()
    data = DataDir(tmp_path / "data")
    data.prepare()
    data.version.write_text("one")
    with pytest.raises(CannotStart, match="format number"):
        data.prepare()
