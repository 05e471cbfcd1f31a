"""Zombies that fall to the first process of a container: every orphan's parent is process 1, and that may be us."""

from __future__ import annotations

import os
from collections.abc import Collection

from waypost.supervisor.process_table import zombies_of


class Orphans:
    """Takes leave of zombies that nobody waits for, when it finds them a second time.

    One look is not enough to tell: a program that we run and wait for is a zombie too, for an instant.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def look(self, own: Collection[int]) -> None:
        """To be called every few seconds; `own` are left to those who watch them."""
        found = zombies_of(os.getpid()) - set(own)
        for pid in found & self._seen:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        self._seen = found
