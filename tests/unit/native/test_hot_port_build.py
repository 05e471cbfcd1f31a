"""The hot port's build: that it is there, and what happens where what it stands on is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import native

ROOT = Path(__file__).resolve().parents[3]


def test_the_hot_port_was_built() -> None:
    if not native.HOT_PORT and not os.environ.get("CI"):
        pytest.skip("the hot port was not built: apt install libnghttp2-dev pkg-config, then make setup")
    assert native.HOT_PORT, "the hot port was not built: apt install libnghttp2-dev pkg-config, then make setup"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what is built, with what Cython has generated already."""
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "native", tmp_path / "native", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    if (ROOT / "build" / "cython").exists():
        shutil.copytree(ROOT / "build" / "cython", tmp_path / "build" / "cython")
    (tmp_path / "waypost").mkdir()
    shutil.copy2(ROOT / "waypost" / "__init__.py", tmp_path / "waypost" / "__init__.py")
    return tmp_path


def say(tree: Path, **environment: str) -> str:
    """What the build says when it looks for what it needs."""
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.skipif(not native.COMPILED, reason="nothing was compiled here")
def test_a_build_without_nghttp2_says_so_and_goes_on(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = str(tmp_path_factory.mktemp("nowhere"))
    said = say(tree, PKG_CONFIG_LIBDIR=nowhere, PKG_CONFIG_PATH="")
    assert "pkg-config finds no libnghttp2: the hot port is left out" in said
    assert "apt install gcc python3-dev pkg-config libnghttp2-dev" in said
    # The rest is built all the same.
    assert "the compiled core is left out" not in said


@pytest.mark.skipif(not native.HOT_PORT, reason="the hot port was not built here")
def test_a_build_with_nghttp2_has_nothing_to_say_of_it(tree: Path) -> None:
    assert "hot port" not in say(tree)
