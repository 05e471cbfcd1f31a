"""A PostgreSQL that an earlier run left behind in a data directory: found in the process table and stopped.

`postmaster.pid` alone proves nothing: after a crash its number may belong to any process. Nor is its absence proof: the
server's children outlive a killed parent for a moment, and a new server refuses to start beside them.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from waypost.supervisor.cluster_errors import ClusterError

FAST_SECONDS = 15.0
"""For a fast shutdown: it rolls transactions back and writes everything out."""
QUIT_SECONDS = 5.0
KILL_SECONDS = 5.0
ORPHAN_SECONDS = 2.0
"""Children that lost their parent notice it by themselves."""

PROGRAM_NAMES = ("postgres", "postmaster")


def pid_in(pid_file: Path) -> int | None:
    """The process id in the first line of a `postmaster.pid` or a socket's lock file; None: no file or no number."""
    try:
        first = pid_file.read_text(encoding="ascii", errors="replace").partition("\n")[0].strip()
    except OSError:
        return None
    # A stand-alone backend writes its number negative.
    number = first.removeprefix("-")
    return int(number) if number.isdecimal() and int(number) > 0 else None


def servers_of(data: Path) -> list[psutil.Process]:
    """The living PostgreSQL processes whose data directory is `data`: they have made it their working directory."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] in PROGRAM_NAMES and is_server_of(process, data):
            found.append(process)
    return found


def is_server_of(process: psutil.Process, data: Path) -> bool:
    """Whether the process is a PostgreSQL of `data` and no zombie."""
    try:
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.name() in PROGRAM_NAMES
            and Path(process.cwd()) == data.resolve()
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False  # gone, or another user's and so not ours


def stop_leftover(data: Path, sockets: Iterable[Path]) -> bool:
    """Stops what runs in `data` and removes the files that would keep a new server from starting.

    `sockets`: the unix sockets that the new server will make. Blocks for up to half a minute. Returns whether there was
    anything running. The caller holds the lock of the data directory. Raises `ClusterError`.
    """
    parent = _parent_in(data)
    running = servers_of(data)
    if parent is not None:
        _end([parent], signal.SIGINT, FAST_SECONDS)
        _end([parent], signal.SIGQUIT, QUIT_SECONDS)
    _wait(servers_of(data), ORPHAN_SECONDS)
    _end(servers_of(data), signal.SIGKILL, KILL_SECONDS)
    if left := servers_of(data):
        raise ClusterError(
            f"a PostgreSQL of {data} is still running (pid {', '.join(str(p.pid) for p in left)}) and cannot be stopped"
        )
    # Nothing of this data directory runs, so whatever process these files name, it is not their owner.
    for path in (data / "postmaster.pid", *(Path(f"{socket}.lock") for socket in sockets), *sockets):
        path.unlink(missing_ok=True)
    return bool(running)


def _parent_in(data: Path) -> psutil.Process | None:
    pid = pid_in(data / "postmaster.pid")
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
    return process if is_server_of(process, data) else None


def _end(processes: list[psutil.Process], number: signal.Signals, seconds: float) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            if number != signal.SIGKILL:
                process.send_signal(signal.SIGCONT)  # a stopped process would never hear the other one
    _wait(processes, seconds)


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
