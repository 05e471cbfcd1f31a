"""The transport alone, as a process that says back what it is sent: see echo.c."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import grpc

from tests.support.missing import missing

ROOT = Path(__file__).resolve().parents[3]
SOURCES = (Path(__file__).with_name("echo.c"), *sorted((ROOT / "native" / "h2").glob("*.c")))
FLAGS = (
    "-std=gnu11",
    "-g",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Wstrict-prototypes",
    "-Werror",
)
SANITIZERS = os.environ.get("WAYPOST_SANITIZE", "")
"""As -fsanitize takes them, with commas between; none unless told. See tools/sanitize.sh."""
REPORTS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:second_deadlock_stack=1:exitcode=66",
}
"""How sanitizers speak: all end the program with another status than 0."""


@cache
def _built() -> Path:
    """The program; built once a session, with warnings as errors."""
    name = "clang" if SANITIZERS else "cc"
    compiler = shutil.which(name)
    if compiler is None:
        missing(f"no {name} to build with: `apt install {name if SANITIZERS else 'gcc'}` has it")
    found = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libnghttp2"], check=False, capture_output=True, text=True
    )
    if found.returncode:
        missing("no libnghttp2 to build with: `apt install libnghttp2-dev pkg-config` has it")
    program = Path(tempfile.mkdtemp(prefix="waypost-h2-")) / "echo"
    sanitize = ["-O1", f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    command = [
        str(compiler),
        *FLAGS,
        *(sanitize if SANITIZERS else ["-O2"]),
        f"-I{ROOT / 'native' / 'h2'}",
        *map(str, SOURCES),
        "-o",
        str(program),
        *found.stdout.split(),
        "-lpthread",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
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

    def memory(self) -> int:
        """Bytes that it has in memory."""
        return 1024 * int(self._status()["VmRSS"].split()[0])

    def turns(self) -> int:
        """How often its threads have waited, all together."""
        return sum(_turns(task) for task in self._tasks())

    def turns_of_last(self) -> int:
        """How often the thread that was started last has waited: the one that accepts."""
        return _turns(max(self._tasks(), key=lambda task: int(task.name)))

    def blocked_signals(self) -> dict[int, set[int]]:
        """By thread: which signals do not reach it. That of the process is the first."""
        masks = {int(task.name): int(_status(task)["SigBlk"], 16) for task in self._tasks()}
        return {thread: {one for one in range(1, 65) if mask >> (one - 1) & 1} for thread, mask in masks.items()}

    def files(self, most: int) -> None:
        """Lets it open so many files at most, with those that it has."""
        resource.prlimit(
            self.pid, resource.RLIMIT_NOFILE, (most, resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1])
        )

    def files_open(self) -> int:
        """How many it has now."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def epolls(self) -> list[str]:
        """What each of its epolls waits for, as the system says it: a line that begins with `tfd:` for each file."""
        folder = Path(f"/proc/{self.pid}")
        found = [fd.name for fd in (folder / "fd").iterdir() if fd.readlink().name == "anon_inode:[eventpoll]"]
        return [(folder / "fdinfo" / name).read_text() for name in found]

    def open_gate(self) -> None:
        """Lets a thread go on that stands at the gate, or the next that comes there."""
        self._tell("open")

    def _status(self) -> dict[str, str]:
        return _status(Path(f"/proc/{self.pid}"))

    def _tasks(self) -> list[Path]:
        return list(Path(f"/proc/{self.pid}/task").iterdir())

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


def method_of(channel: grpc.aio.Channel, path: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method that takes bytes and gives bytes."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return method


def _turns(task: Path) -> int:
    return int(_status(task)["voluntary_ctxt_switches"])


def _status(process: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())


@contextlib.contextmanager
def echo(place: str = "4", **bounds: int) -> Iterator[Echo]:
    """A server at a place as echo.c names them, with these bounds of `h2_config`.

    It must end as it should, and have nothing left in its memory.
    """
    words = [place, *(f"{name}={number}" for name, number in bounds.items())]
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
        [str(program), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=REPORTS | os.environ,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
