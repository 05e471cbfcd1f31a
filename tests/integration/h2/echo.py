"""The transport alone, as a process that says back what it is sent: see echo.c."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = (Path(__file__).with_name("echo.c"), *sorted((ROOT / "native" / "h2").glob("*.c")))
FLAGS = ("-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Werror")
SANITIZERS = tuple(filter(None, os.environ.get("WAYPOST_SANITIZE", "").split(",")))
"""As -fsanitize names them; none unless told."""


def _missing(reason: str) -> None:
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def _built() -> Path:
    """The program; built once a session, with warnings as errors."""
    compiler = shutil.which("cc")
    if compiler is None:
        _missing("no C compiler: `apt install gcc` has one")
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "libnghttp2"], capture_output=True, text=True)
    if found.returncode:
        _missing("no libnghttp2 to build with: `apt install libnghttp2-dev pkg-config` has it")
    program = Path(tempfile.mkdtemp(prefix="waypost-h2-")) / "echo"
    sanitize = [f"-fsanitize={name}" for name in SANITIZERS]
    command = [
        str(compiler),
        *FLAGS,
        *sanitize,
        f"-I{ROOT / 'native' / 'h2'}",
        *map(str, SOURCES),
        "-o",
        str(program),
        *found.stdout.split(),
        "-lpthread",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return program


class Echo:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port
        self.pid = process.pid

    def stats(self) -> dict[str, int]:
        """What it has counted."""
        self._tell("stats")
        assert self._process.stdout is not None
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found

    def drain(self) -> None:
        """Has it accept nothing more and ask everybody to go."""
        self._tell("drain")

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def echo(**bounds: int) -> Iterator[Echo]:
    """A server with these bounds of `h2_config`. It must end as it should, and have nothing left in its memory."""
    words = [f"{name}={number}" for name, number in bounds.items()]
    with _running(words) as process:
        assert process.stdout is not None
        server = Echo(process, int(process.stdout.readline()))
        yield server
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


@contextlib.contextmanager
def _running(words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    program = _built()
    with subprocess.Popen(
        [str(program), "0", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
