"""Runs `waypost up` as people do, in a process of its own, and looks at it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ports import free_ports
from waypost.supervisor.exits import ended
from waypost.supervisor.process_table import look_up, members
from waypost.supervisor.settings import SupervisorSettings

PROGRAM = str(Path(__file__).with_name("up_standins.py"))
PATIENCE = 40.0


def environment(data: Path) -> dict[str, str]:
    """Settings under which a mesh meets no other one."""
    names = [info.env for info in SupervisorSettings.infos() if info.field.endswith("_port")]
    ports = {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    return {**clean, **ports, "WAYPOST_DATA_DIR": str(data), "WAYPOST_DRAIN_SECONDS": "2"}


def plan(*names: str, **words: Sequence[str]) -> dict[str, Any]:
    """Stand-ins by name; a keyword gives words for one, for example `b=["stubborn"]`."""
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    return {name: {"port": ports[name], "words": list(words.get(name, ()))} for name in names}


@dataclass
class Up:
    """A running `waypost up`."""

    process: asyncio.subprocess.Process
    data: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    group: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read_errors(self) -> None:
        """Sorts standard error into events and other lines, to its end."""
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = raw.decode().rstrip()
            async with self._news:
                if line.startswith("{"):
                    event = json.loads(line)
                    running = look_up(event.get("pid", 0)) if not self.group else None
                    self.group = running.group if running else self.group
                    self.events.append(event)
                else:
                    self.errors.append(line)
                self._news.notify_all()

    async def ready(self) -> str:
        """Waits for the line on standard output that scripts wait for."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().rstrip()

    async def event(self, count: int = 1, **wanted: object) -> dict[str, Any]:
        """Waits for the `count`th event with these fields."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if wanted.items() <= event.items()]

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]

    async def end(self) -> int:
        """Waits for the end and for all that was said until then; the exit code."""
        async with asyncio.timeout(PATIENCE):
            await self.process.wait()
            await self._reading
        return self.process.returncode or 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signals the supervisor."""
        self.process.send_signal(number)

    def states(self) -> list[tuple[str, str]]:
        """Every change of state so far: process and state."""
        return [(event["process"], event["state"]) for event in self.events if event["event"] == "process"]

    _reading: asyncio.Future[None] = field(init=False)


async def gone(group: int) -> None:
    """Waits until no living process is in the group."""
    async with asyncio.timeout(PATIENCE):
        while left := list(members(group)):
            await ended(left[0].pid)


@contextlib.asynccontextmanager
async def started(plan: Mapping[str, Any], data: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Up]:
    """A `waypost up` of stand-ins. Whatever the test leaves of it is killed, and all of it must then be gone."""
    # Under nohup these tests would pass on that SIGHUP is ignored, and `waypost up` goes by it.
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            PROGRAM,
            json.dumps(plan),
            env={**environment(data), **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGHUP, inherited)
    up = Up(process, data)
    up._reading = asyncio.ensure_future(up.read_errors())
    try:
        yield up
    finally:
        if process.returncode is None:
            process.kill()
        await up.end()
        assert process.stdout is not None
        await process.stdout.read()
        if up.group:
            await gone(up.group)
