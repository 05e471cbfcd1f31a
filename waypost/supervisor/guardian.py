"""The guardian: a small process that outlives its supervisor by as long as it takes to stop what that one started.

`guardian.py PIPE SERVICES DATABASE`: PIPE is the read end of a pipe whose other end only the supervisor holds; SERVICES
and DATABASE are the seconds that each kind gets to end in order. All processes of the mesh live in the guardian's own
process group, which they enter before they run a single instruction of their program; the kernel is the only book. A
process that is just being started holds a copy of the pipe's other end until then, so the guardian cannot wake between.

Runs without site-packages, by path: standard library only, and no import of `waypost` beyond the file next door.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from waypost.supervisor.process_table import Running, members

DATABASE = "postgres"
"""Name of the database's process, which goes last: the services still write while they drain."""
DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)
"""Signals that do not end the guardian. Its supervisor starts it with these blocked: one could come before `main`."""
KILL_SECONDS = 5.0
LOOK_SECONDS = 0.02


def main(argv: list[str]) -> int:
    """Sleeps until the pipe closes, then stops everything in the group. Returns 1 if something could not be stopped."""
    pipe, services, database = int(argv[1]), float(argv[2]), float(argv[3])
    if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
        _say("this program is started by `waypost up` only")  # by hand it would stop its caller's process group
        return 2
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    while os.read(pipe, 1):
        pass
    group = os.getpgrp()
    left = _others(group)
    if not left:
        return 0
    _say(f"the supervisor is gone; stopping {', '.join(sorted(f'{p.name} ({p.pid})' for p in left))}")
    _stop(group, signal.SIGTERM, services, lambda process: process.name != DATABASE)
    _stop(group, signal.SIGINT, database, lambda process: process.name == DATABASE)
    if left := _others(group):
        _say(f"killing what is left: {', '.join(f'{p.name} ({p.pid})' for p in left)}")
    if not _stop(group, signal.SIGKILL, KILL_SECONDS, lambda process: True):
        _say("some processes cannot be killed")
        return 1
    _say("everything is stopped")
    return 0


def _others(group: int) -> list[Running]:
    return [process for process in members(group) if process.pid != os.getpid()]


def _stop(group: int, number: signal.Signals, seconds: float, chosen: Callable[[Running], bool]) -> bool:
    """Signals each chosen process once, until none is left or the time is up; whether none is left."""
    deadline = time.monotonic() + seconds
    told: set[int] = set()
    while left := [process for process in _others(group) if chosen(process)]:
        for process in left:
            if process.pid not in told:
                told.add(process.pid)
                _send(process.pid, number)
                # A stopped process would keep its signal for later.
                _send(process.pid, signal.SIGCONT)
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _say(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        os.write(2, f"{stamp} guardian: {text}\n".encode())
    except OSError:  # a full disk must not keep the guardian from its work
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv))
