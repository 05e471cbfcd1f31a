"""The lock of the data directory: one mesh at a time, until the last of its processes is gone.

It is a `flock`, which belongs to the open file and not to a process: the supervisor holds it and the guardian inherits
it, so that it falls only when both are gone. The text in the file (`<pid> <start> <PID namespace>`) serves people and
tells a running supervisor from one that died and is still being cleaned up after.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from waypost.supervisor.errors import CannotStart, DataDirectoryInUse
from waypost.supervisor.process_table import start_of

RETRY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Holder:
    """Who wrote the lock file: process id, its start (clock ticks since boot) and its PID namespace."""

    pid: int
    start: int
    namespace: str

    @classmethod
    def myself(cls) -> Self:
        return cls(os.getpid(), start_of(os.getpid()) or 0, _namespace())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The holder that a lock file names; None for a file that is empty or half written."""
        match text.split():
            case [pid, start, namespace] if pid.isdecimal() and start.isdecimal():
                return cls(int(pid), int(start), namespace)
        return None

    def is_elsewhere(self) -> bool:
        """Whether its process id means nothing here, since it counts in another PID namespace (a container)."""
        return self.namespace != _namespace()

    def is_alive(self) -> bool:
        """Whether this very process still runs; a later one with the same id does not count."""
        return start_of(self.pid) == self.start

    def __str__(self) -> str:
        return f"{self.pid} {self.start} {self.namespace}"


class DataLock:
    """The lock once it is held; `fd` is what the guardian inherits."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        """Lets go of our share; the lock falls when the guardian is gone too."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


async def acquire(path: Path, timeout: float, waiting: Callable[[], None]) -> DataLock:
    """Takes the lock file at `path`.

    A lock that outlives its supervisor belongs to a guardian that is still stopping processes: that one is waited for,
    `timeout` seconds at most, after `waiting` was called once. Raises `DataDirectoryInUse`, `CannotStart`.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"cannot open the lock file {path}: {error.strerror}") from None
    try:
        deadline = asyncio.get_running_loop().time() + timeout
        said = False
        while not _try(fd, path):
            holder = Holder.parse(os.pread(fd, 200, 0).decode("ascii", "replace"))
            if holder is not None and holder.is_elsewhere():
                raise DataDirectoryInUse(path.parent, "in another container")
            if holder is not None and holder.is_alive():
                raise DataDirectoryInUse(path.parent, f"pid {holder.pid}")
            if asyncio.get_running_loop().time() >= deadline:
                raise DataDirectoryInUse(path.parent, f"its processes did not end within {timeout:g} s")
            if not said:
                said = True
                waiting()
            # flock can only be waited for by blocking a thread, which nothing could call off.
            await asyncio.sleep(RETRY_SECONDS)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{Holder.myself()}\n".encode(), 0)
    except BaseException:
        os.close(fd)
        raise
    return DataLock(fd)


def _try(fd: int, path: Path) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise CannotStart(f"cannot lock {path}: {error.strerror} (it must be on a local file system)") from None
    return True


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "?"
