"""One process of the mesh under watch: started, asked for its health, started again when it ends, stopped in order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from typing import Any

from waypost.backoff import Backoff
from waypost.supervisor.errors import ProcessKeepsFailing, ProcessRefused
from waypost.supervisor.exits import ended, in_words, send
from waypost.supervisor.logs import Log
from waypost.supervisor.program import Change, Program, State

RESTARTS = Backoff(base=0.25, cap=10.0, floor=0.05)
HEALTHY_SECONDS = 30.0
"""After this long in service an end counts as the first one again."""
HOPELESS_STARTS = 5
"""So many ends without ever having been ready, and it is not a matter of trying."""
LOOK_STARTING, LOOK_RUNNING = 0.05, 1.0
"""Seconds between two probes."""
SILENT_DEGRADED, SILENT_DEAD = 3, 15
"""So many probes in a row without an answer; counted, not timed, so that a machine's sleep is nobody's fault."""
KILL_SECONDS = 5.0
HURRY_SECONDS = 1.5
"""What each step of a stop gets at most once people are in a hurry."""
EXIT_SETTINGS = 2


class Child:
    """Runs `program` in the process group `group()` until `stop`; tells every change of state to `listener`."""

    def __init__(
        self,
        program: Program,
        log: Log,
        group: Callable[[], int],
        listener: Callable[[Change], None],
        restarts: Backoff = RESTARTS,
    ) -> None:
        self.program = program
        self.log = log
        self.state = State.STOPPED
        self.reason = ""
        self.was_ready = asyncio.Event()
        """Set for good when it is in service for the first time."""
        self._group = group
        self._listener = listener
        self._restarts = restarts
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._began = 0.0
        self._in_service: float | None = None
        self._verdict = ""

    @property
    def pid(self) -> int:
        """Its process id; 0 while it has none."""
        return self._process.pid if self._process is not None else 0

    async def run(self) -> None:
        """Keeps the process running until `stop`.

        Raises `ProcessRefused` when its first start ends with exit code 2, `ProcessKeepsFailing` when no start ever
        succeeds. Once it has been in service it is started again for ever, also after exit code 2: what it refuses may
        be a file that somebody is about to mend, and its neighbours serve on.
        """
        failures = 0
        while not self._stopping.is_set():
            code, how = await self._live()
            if self._stopping.is_set():
                break
            if self._in_service is not None and time.monotonic() - self._in_service >= HEALTHY_SECONDS:
                failures = 0
            failures += 1
            # What our services write there begins with their name, which is told here anyway.
            line = self.log.last_line().removeprefix(f"{self.program.name}: ")
            if not self.was_ready.is_set() and code == EXIT_SETTINGS:
                self._set(State.FAILED, how)
                raise ProcessRefused(self.program.name, line, self.log.path)
            how = f"{how}: {line}" if line else how
            if not self.was_ready.is_set() and failures >= HOPELESS_STARTS:
                self._set(State.FAILED, how)
                raise ProcessKeepsFailing(self.program.name, failures, how, self.log.path)
            delay = self._restarts.delay(failures - 1)
            self._set(State.RESTARTING, f"{how}; again in {delay:.1f} s")
            await _within(delay, self._stopping.wait())
        self._set(State.STOPPED)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Stops the process in its program's order, quicker once `hurry` is set; returns when it is gone for good."""
        self._stopping.set()
        if self._gone.is_set():
            return
        self._set(State.STOPPING)
        if self.program.before_stop is not None and not hurry.is_set():
            await _either(self.program.before_stop(), self._gone.wait(), hurry.wait())
        for step in self.program.stop:
            await self._signal(step.number, step.seconds, hurry)
        await self._signal(signal.SIGKILL, KILL_SECONDS, hurry)

    async def _signal(self, number: signal.Signals, seconds: float, hurry: asyncio.Event) -> None:
        if self._process is None or self._gone.is_set():
            return
        send(self._process, number)

        async def hurried() -> None:
            await hurry.wait()
            await asyncio.sleep(HURRY_SECONDS)

        await _either(self._gone.wait(), hurried(), asyncio.sleep(seconds))

    async def _live(self) -> tuple[int | None, str]:
        """One life, from start to end: its return code (None: it could not be run) and how it ended, in words."""
        self._in_service = None
        self._verdict = ""
        if self.program.before_start is not None:
            await self.program.before_start()
            if self._stopping.is_set():
                return None, ""
        self._began = time.monotonic()
        try:
            self._process = process = self._spawn()
        except (OSError, subprocess.SubprocessError) as error:
            return None, f"it cannot be run ({getattr(error, 'strerror', None) or error})"
        self._gone.clear()
        self._set(State.STARTING)
        health = asyncio.create_task(self._follow_health(process))
        try:
            await ended(process.pid)
        finally:
            health.cancel()
            await asyncio.gather(health, return_exceptions=True)
        code = process.wait()
        self._process = None
        self._gone.set()
        return code, self._verdict or in_words(code)

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.program
        user, group = program.user or (None, None)
        output = self.log.open()
        try:
            return subprocess.Popen(
                program.argv,
                env=dict(program.env),
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Before its program runs, the process is in the guardian's group: see guardian.py. A signal from the
                # kernel at the parent's death (PR_SET_PDEATHSIG) would add nothing, and is lost with a change of user.
                process_group=self._group(),
                user=user,
                group=group,
                extra_groups=[] if user is not None else None,
            )
        finally:
            os.close(output)

    async def _follow_health(self, process: subprocess.Popen[bytes]) -> None:
        silent = 0
        while True:
            health = await self.program.probe()
            silent = 0 if health else silent + 1
            if health is not None and health.status == "ok":
                self._serve(State.READY, "")
            elif health is not None and health.status == "degraded":
                self._serve(State.DEGRADED, health.reason or "it gives no reason")
            elif self._in_service is None:
                self.reason = health.reason if health else ""
            elif health is not None:
                self._serve(State.DEGRADED, f"{health.status}: {health.reason}".rstrip(": "))
            elif silent >= SILENT_DEAD and self.program.silence_is_fatal:
                self._verdict = f"it left {silent} questions in a row unanswered and was killed"
                send(process, signal.SIGKILL)
                return
            elif silent >= SILENT_DEGRADED:
                self._serve(State.DEGRADED, f"no answer to {silent} questions in a row")
            await asyncio.sleep(LOOK_STARTING if self._in_service is None else LOOK_RUNNING)

    def _serve(self, state: State, reason: str) -> None:
        first = self._in_service is None
        if first:
            self._in_service = time.monotonic()
            self.was_ready.set()
        if first or state is not self.state:
            self._set(state, reason, time.monotonic() - self._began if first else None)
        self.reason = reason

    def _set(self, state: State, detail: str = "", seconds: float | None = None) -> None:
        # A process on its way out may still answer a probe.
        if self._stopping.is_set() and state not in (State.STOPPING, State.STOPPED):
            return
        if state is State.STOPPED and self.state is State.STOPPED:
            return
        self.state, self.reason = state, detail
        self._listener(Change(self.program.name, state, detail, self.pid, seconds))


async def _within(seconds: float, waiting: Coroutine[Any, Any, Any]) -> None:
    """Waits for `waiting`, `seconds` at most."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        pass


async def _either(*waiting: Any) -> None:
    """Waits for the first of several; the others are called off."""
    tasks = [asyncio.ensure_future(w) for w in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
