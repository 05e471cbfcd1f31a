"""The supervisor's end of the guardian: starts it, knows its process group, puts a new one in its place."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from waypost.supervisor import guardian
from waypost.supervisor.exits import ended
from waypost.supervisor.logs import Log

SERVICES_SECONDS = 5.0
DATABASE_SECONDS = 8.0
"""What processes get once their supervisor is dead; with the guardian's last resort less than `LOCK_SECONDS`."""

PAUSE_SECONDS = 0.2
"""Between two replacements, should guardians end again and again."""


class Guard:
    """Use `start`, spawn children with `process_group=guard.group`, run `keep` beside them, end with `close`."""

    def __init__(self, lock_fd: int, log: Log, notice: Callable[[str], None]) -> None:
        self._lock_fd = lock_fd
        self._log = log
        self._notice = notice
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self.group = 0
        """The process group of the mesh: the id of the first guardian."""

    def start(self) -> None:
        """Starts the guardian in a new process group. Raises `OSError`."""
        self._process, self._pipe = self._spawn(0)
        self.group = self._process.pid

    @property
    def pid(self) -> int:
        assert self._process is not None  # noqa: S101 - start comes first
        return self._process.pid

    async def keep(self) -> None:
        """Puts a new guardian in the place of one that ends, until it is cancelled. Raises `OSError`."""
        while True:
            old, pipe = self._process, self._pipe
            assert old is not None  # noqa: S101 - start comes first
            await ended(old.pid)
            # The group lives as long as a member's zombie does: the new guardian joins it before the old is reaped,
            # and so takes over every child of the mesh.
            self._process, self._pipe = self._spawn(self.group)
            old.wait()
            os.close(pipe)
            self._notice(f"the guardian (pid {old.pid}) ended; a new one took over")
            await asyncio.sleep(PAUSE_SECONDS)

    async def close(self) -> None:
        """Lets the guardian end; whatever is still in its group it stops on the way."""
        if self._process is not None:
            os.close(self._pipe)
            await ended(self._process.pid)
            self._process.wait()
            self._process = None

    def _spawn(self, group: int) -> tuple[subprocess.Popen[bytes], int]:
        ours: int
        theirs, ours = os.pipe()
        output = self._log.open()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, guardian.DEAF_TO)
        try:
            # By path, isolated and without site-packages: it starts in a third of the time and holds 10 MB.
            seconds = (str(SERVICES_SECONDS), str(DATABASE_SECONDS))
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(guardian.__file__)), str(theirs), *seconds],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs, self._lock_fd),
                process_group=group,
                cwd="/",
                env={},
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(theirs)
            os.close(output)
        return process, ours
