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
    fields = _stat(pid)
    if fields is None or fields[1] in ("Z", "X"):
        return None
    return Running(pid, name=fields[0], group=int(fields[3]), start=int(fields[20]))


def start_of(pid: int) -> int | None:
    """When the process with this id started; with the id it names one process for good."""
    running = look_up(pid)
    return running.start if running else None


def members(group: int) -> Iterator[Running]:
    """The living processes of a process group."""
    for pid in _all():
        running = look_up(pid)
        if running is not None and running.group == group:
            yield running


def zombies_of(parent: int) -> set[int]:
    """The children of `parent` that have ended and that it has not waited for."""
    return {
        pid for pid in _all() if (fields := _stat(pid)) is not None and fields[1] == "Z" and fields[2] == str(parent)
    }


def _all() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _stat(pid: int) -> list[str] | None:
    """Name, state, parent, group and so on, in the order of proc(5); None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    return [stat[stat.index("(") + 1 : stat.rindex(")")], *stat[stat.rindex(")") + 2 :].split()]
