"""`waypost up` as a person sees it: on a terminal, with a first call to try that works."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select

import httpx
import pytest

from tests.e2e.shell import DIRECT, PROGRAMS, shell
from tests.support.mesh import PATIENCE, Mesh, data_folder

# Makes the terminal that of the session, so that Ctrl-C on it is a signal and not a character.
BEGIN = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Terminal:
    """A `waypost up` and the screen that it writes on."""

    process: subprocess.Popen[bytes]
    screen: int
    data: Path
    text: str = ""
    raw: bytearray = field(default_factory=bytearray)

    def read_until(self, wanted: str, seconds: float = PATIENCE) -> str:
        """Reads on until this has been said; everything that has been said so far, without colours."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            ready, _, _ = select([self.screen], [], [], deadline - time.monotonic())
            assert ready, f"{wanted!r} was not said:\n{self.text}"
            self.raw += os.read(self.screen, 65_536)
            self.text = COLOURS.sub("", self.raw.decode()).replace("\r\n", "\n")
        return self.text

    def press_ctrl_c(self) -> int:
        """Presses Ctrl-C and waits for the end; the exit code."""
        os.write(self.screen, b"\x03")
        return self.process.wait(PATIENCE)


@contextmanager
def on_a_terminal(mesh: Mesh) -> Iterator[Terminal]:
    """Starts `waypost up` of this mesh on a terminal of its own."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, str(PROGRAMS / "waypost"), "up"],
            env={**mesh.env, "TERM": "xterm-256color", "COLUMNS": "80"},
            cwd="/",
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    try:
        yield Terminal(process, ours, mesh.data)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        os.close(ours)


@pytest.fixture
def mesh_of_its_own() -> Iterator[Mesh]:
    with data_folder() as data:
        yield Mesh(data)


def paste(command: str) -> str:
    """What a command says that is pasted into a shell."""
    env = {**os.environ, **DIRECT, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    code, output, errors = shell(command, env)
    assert code == 0, errors
    return output


def test_what_a_person_reads_and_tries_first(mesh_of_its_own: Mesh) -> None:
    mesh = mesh_of_its_own
    with on_a_terminal(mesh) as terminal:
        text = terminal.read_until("Ctrl-C stops")
        assert f"waypost: ready {mesh.http_url}\n" in text
        for process in ("postgres", "gateway", "ratelimiter", "workers", "envoy"):
            assert re.search(rf"^  {process} +ready .*{'socket' if process == 'postgres' else ''}", text, re.MULTILINE)
        shown = dict(re.findall(r"^  (shorten|by gRPC|key file|key|data|logs) +(.+)$", text, re.MULTILINE))
        assert (shown["data"], shown["logs"]) == (str(mesh.data), str(mesh.data / "logs"))
        assert shown["key"] == f"{mesh.operator_key}  (for operators; shown once)"
        assert shown["key file"] == str(mesh.data / "operator-key")
        assert (mesh.data / "logs" / "gateway.log").is_file()
        # Nothing for machines on a screen.
        assert not re.search(r"^\{", text, re.MULTILINE)
        assert b"\x1b[" in terminal.raw

        # Both calls work as they stand, also pasted as lines that the terminal has wrapped.
        for call in (shown["shorten"], shown["by gRPC"]):
            short_url = re.search(r'"short_url": ?"([^"]+)"', paste(call))
            assert short_url
            with httpx.Client(trust_env=False) as client:
                assert client.get(short_url[1]).headers["location"] == "https://example.com"

        assert terminal.press_ctrl_c() == 0


def test_the_first_calls_work_where_links_take_a_key(mesh_of_its_own: Mesh) -> None:
    mesh = mesh_of_its_own
    mesh.env["WAYPOST_ANONYMOUS_CREATE"] = "false"
    for first_start in (True, False):
        with on_a_terminal(mesh) as terminal:
            text = terminal.read_until("Ctrl-C stops")
            assert (mesh.operator_key in text) is first_start
            shown = dict(re.findall(r"^  (shorten|by gRPC) +(.+)$", text, re.MULTILINE))
            for call in (shown["shorten"], shown["by gRPC"]):
                assert '"short_url"' in paste(call)
            assert terminal.press_ctrl_c() == 0


def test_what_a_person_reads_when_it_cannot_start(mesh_of_its_own: Mesh) -> None:
    mesh = mesh_of_its_own
    mesh.env["WAYPOST_GATEWAY_CONTROL_PORT"] = mesh.env["WAYPOST_HTTP_PORT"]
    with on_a_terminal(mesh) as terminal:
        text = terminal.read_until("\n")
        assert terminal.process.wait(PATIENCE) == 2
        assert text.startswith("waypost: ")
        assert "WAYPOST_GATEWAY_CONTROL_PORT" in text
        assert text.count("\n") == 1
