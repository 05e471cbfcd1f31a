"""What a process of the mesh is, and the states it goes through."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from waypost.supervisor.probe import Probe


class State(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Change:
    """A process came into `state`. `pid`: 0 if it has none; `seconds`: from its start to being ready."""

    process: str
    state: State
    detail: str = ""
    pid: int = 0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StopStep:
    """A signal, and the seconds that the process gets before the next step. After the last step comes SIGKILL."""

    number: signal.Signals
    seconds: float


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, how to see that it is ready, how to stop it.

    `stage` orders the stop: the lowest goes first, and the next when all of it is gone. `address` is for people. `user`
    is (uid, gid), for a supervisor that runs as root. `silence_is_fatal`: one that was ready and then answers no probe
    for long is killed and started again. `before_start` is done ahead of every start, `before_stop` ahead of the first
    signal.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    probe: Probe
    stop: Sequence[StopStep]
    stage: int
    address: str = ""
    cwd: Path | None = None
    user: tuple[int, int] | None = None
    silence_is_fatal: bool = True
    before_start: Callable[[], Awaitable[None]] | None = None
    before_stop: Callable[[], Awaitable[None]] | None = None
