"""The kernel's process table, as little of it as we need. Standard library only: the guardian uses it too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """A process that is not a zombie. `start` is in clock ticks since boot."""

    pid: int
    name: str
    group: int
    start: int


def look_up(pid: int) -> Running | None:
    """The process with this id; None if there is none or only its zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses: proc(5).
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    rest = stat[stat.rindex(")") + 2 :].split()
    state, group, start = rest[0], int(rest[2]), int(rest[19])
    return None if state in "ZX" else Running(pid, name, group, start)


def start_of(pid: int) -> int | None:
    """When the process with this id started; with the id it names one process for good."""
    running = look_up(pid)
    return running.start if running else None


def members(group: int) -> Iterator[Running]:
    """The living processes of a process group."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            running = look_up(int(entry.name))
            if running is not None and running.group == group:
                yield running
