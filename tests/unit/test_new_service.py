"""`make new-service` makes a service that starts, passes its own test and is known to every list."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("waypost", "gateway", "ratelimiter", "workers", "native", "tools", "tests")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tree to make the service in."""
    for folder in NEEDED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.py", "pyproject.toml", ".env.example"):
        shutil.copyfile(ROOT / file, tmp_path / file)
    return tmp_path


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The folder stands before the project's own on the path; a coverage report has no use for files in a copy.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    env["PYTHONPATH"] = str(folder)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_new_service_starts(copy: Path) -> None:
    made = _python(copy, "tools/new_service.py", "parrot")
    assert made.returncode == 0, made.stderr
    assert sorted(path.stem for path in (copy / "parrot").glob("*.py")) == sorted(
        ["__init__", "__main__", "settings", "app", "service", "handlers", "convert"]
    )
    for check in (
        ["tools/env_example.py", "--check"],
        ["-m", "ruff", "check", "parrot", "tests/integration/parrot", "tools", "setup.py"],
        ["-m", "ruff", "format", "--check", "parrot", "tests/integration/parrot", "setup.py"],
        ["-m", "pytest", "-q", "--timeout=30", "tests/integration/parrot"],
    ):
        done = _python(copy, *check)
        assert done.returncode == 0, done.stdout + done.stderr
    for file in ("pyproject.toml", "setup.py", "waypost/setting_names.py"):
        assert "parrot" in (copy / file).read_text().lower()


@pytest.mark.parametrize("name", ["Parrot", "par-rot", "json", "gateway", ""])
def test_bad_names_are_refused(name: str) -> None:
    done = _python(ROOT, "tools/new_service.py", name)
    assert done.returncode == 2
    assert not (ROOT / "json").exists()
