"""Which core is whose: what is measured has one, what measures it the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

SERVER, GENERATOR = 0, 1


def apart() -> bool:
    """Whether there are two cores; with one, everything shares it and the figures say little."""
    return {SERVER, GENERATOR} <= os.sched_getaffinity(0)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Within it this thread, and every process it starts, is on `core` alone."""
    before = os.sched_getaffinity(0)
    if apart():
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int, *, family: bool = False) -> float:
    """What a process has used of its core so far; `family`: with all below it that still run."""
    process = psutil.Process(pid)
    used = 0.0
    for each in [process, *(process.children(recursive=True) if family else ())]:
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            used += times.user + times.system
    return used
