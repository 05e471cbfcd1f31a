"""Waiting for a child process to end, at once and without reaping it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess


async def ended(pid: int) -> None:
    """Returns when the child `pid` has ended. Its zombie stays, and with it its id and its process group."""
    loop = asyncio.get_running_loop()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:
        # Some sandboxes have no pidfd_open; a thread that waits does the same.
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return
    done = asyncio.Event()
    loop.add_reader(fd, done.set)
    try:
        await done.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def in_words(code: int) -> str:
    """How a process ended, from `Popen.returncode`: `exit code 3`, `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def reap_orphans(own: set[int]) -> None:
    """As process 1 of a container: takes leave of zombies that nobody waits for; `own` are left to who started them."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        # The kernel names the same zombie until it is reaped: behind one of ours we come back with the next SIGCHLD.
        if found is None or found.si_pid in own:
            return
        os.waitpid(found.si_pid, 0)


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signals a child that has not been reaped, also a stopped one."""
    if process.poll() is None:
        process.send_signal(number)
        if number != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
