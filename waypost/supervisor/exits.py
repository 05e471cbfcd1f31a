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


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signals a child that has not been reaped, also a stopped one."""
    if process.poll() is None:
        process.send_signal(number)
        if number != signal.SIGKILL:
            process.send_signal(signal.SIGCONT)
