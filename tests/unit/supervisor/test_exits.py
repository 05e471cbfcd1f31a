"""How processes end, and what the process table says of them."""

import os
import signal
import subprocess
import sys

import pytest

from waypost.supervisor import exits
from waypost.supervisor.orphans import Orphans
from waypost.supervisor.process_table import look_up, members, zombies_of

SLEEP = [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]


async def test_an_end_is_seen_before_the_zombie_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for pidfd in (True, False):
        if not pidfd:
            monkeypatch.setattr(os, "pidfd_open", _not_implemented)
        with subprocess.Popen(SLEEP, process_group=0) as process:
            assert [p.pid for p in members(process.pid)] == [process.pid]
            process.kill()
            await exits.ended(process.pid)
            assert look_up(process.pid) is None
            assert exits.in_words(process.wait()) == "signal SIGKILL"


def _not_implemented(_: int) -> int:
    raise OSError(38, "Function not implemented")


def test_ends_in_words() -> None:
    assert exits.in_words(3) == "exit code 3"
    assert exits.in_words(-signal.SIGSEGV) == "signal SIGSEGV"
    assert exits.in_words(-63) == "signal 63"


def test_only_unknown_zombies_are_reaped() -> None:
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    orphans = Orphans()
    orphans.look({pids[0]})
    assert zombies_of(os.getpid()) >= set(pids)
    orphans.look({pids[0]})
    os.waitpid(pids[0], 0)
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[1], 0)


def test_a_name_with_parentheses_is_read() -> None:
    script = "import ctypes; ctypes.CDLL(None).prctl(15, b'a) R 1 (b', 0, 0, 0); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        running = look_up(process.pid)
        assert running is not None
        assert running.name == "a) R 1 (b"
        assert running.group == process.pid
