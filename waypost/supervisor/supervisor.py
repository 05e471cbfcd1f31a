"""The life of a mesh: take the lock, start everything at once, say when it is ready, watch it, stop it in order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from waypost.supervisor import ports
from waypost.supervisor.child import Child
from waypost.supervisor.console import Console, Welcome
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.guard import Guard
from waypost.supervisor.lock import DataLock, acquire
from waypost.supervisor.logs import Log
from waypost.supervisor.mesh import Mesh
from waypost.supervisor.orphans import Orphans
from waypost.supervisor.program import Change, Program, State
from waypost.supervisor.settings import Listener

LOCK_SECONDS = 20.0
"""How long a start waits for the guardian of the run before: longer than a guardian may take."""
DEGRADED_SECONDS = 10.0
"""A mesh that runs, but stays degraded for so long, is called ready: it serves what it can."""
NOTICE_SECONDS = 15.0
HOUSEKEEPING_SECONDS = 2.0


class Supervisor:
    """Runs one mesh; `run` may be called once."""

    def __init__(
        self,
        mesh: Mesh,
        data: DataDir,
        listeners: Sequence[Listener],
        welcome: Welcome,
        console: Console,
        sockets: Sequence[Path] = (),
    ) -> None:
        self._mesh = mesh
        self._data = data
        self._listeners = listeners
        self._sockets = sockets
        self._welcome = welcome
        self._console = console
        self._children: dict[str, Child] = {}
        self._runs: list[asyncio.Task[None]] = []
        self._logs: list[Log] = []
        self._lock: DataLock | None = None
        self._guard: Guard | None = None
        self._news = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._database_missing = ""
        self._new_key = ""
        self._preparing: asyncio.Task[Program] | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Runs until SIGINT, SIGTERM or SIGHUP; a second signal hurries the end. Leaves no process behind.

        Raises `CannotStart` when it cannot start, or cannot go on.
        """
        self._handle_signals()
        work = asyncio.create_task(self._work())
        told = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            ended_by_itself = work.done()
            work.cancel()
            await asyncio.gather(work, told, return_exceptions=True)
            await self._stop_everything(quietly=self._guard is None)
        if ended_by_itself:
            work.result()

    def stop(self) -> None:
        """Asks for the end in order; the second time, for a quick one."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _work(self) -> None:
        self._lock = await acquire(self._data.lock, LOCK_SECONDS, self._say_waiting)
        ports.check(self._listeners, self._sockets)
        guard = Guard(self._lock.fd, self._log("guardian"), self._note_new_guardian)
        guard.start()
        self._guard = guard
        for program in self._mesh.programs():
            self._start(program)
        tasks = [
            asyncio.create_task(guard.keep(), name="guardian"),
            asyncio.create_task(self._keep_house(), name="housekeeping"),
            asyncio.create_task(self._database(guard), name="database"),
            asyncio.ensure_future(self._failed),
        ]
        if self._mesh.tend is not None:
            tasks.append(asyncio.create_task(self._mesh.tend(self._console.notice), name="tending"))
        try:
            await self._first_failure(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _first_failure(self, tasks: Sequence[asyncio.Future[None]]) -> None:
        announcement = asyncio.create_task(self._announce())
        pending: set[asyncio.Future[None]] = {announcement, *tasks}
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            announcement.cancel()
            await asyncio.gather(announcement, return_exceptions=True)

    async def _database(self, guard: Guard) -> None:
        database = self._mesh.database
        self._database_missing = "the database"
        if database is not None:
            # Never called off: what it makes on disk must not be left half made.
            self._preparing = asyncio.create_task(database.prepare(guard.group))
            program = await asyncio.shield(self._preparing)
            child = self._start(program)
            await child.was_ready.wait()
        await self._mesh.migrate(self._note_database, self._keep_to_show)
        self._note_database("")

    def _keep_to_show(self, key: str) -> None:
        self._new_key = key

    def _note_database(self, reason: str) -> None:
        self._database_missing = reason
        self._news.set()

    async def _announce(self) -> None:
        """Says `ready` once everything is."""
        loop = asyncio.get_running_loop()
        running_since: float | None = None
        while late := self._late():
            self._news.clear()
            running = not self._database_missing and all(
                child.state in (State.READY, State.DEGRADED) for child in self._children.values()
            )
            running_since = (running_since or loop.time()) if running else None
            wait = NOTICE_SECONDS
            if running_since is not None:
                wait = running_since + DEGRADED_SECONDS - loop.time()
                if wait <= 0:
                    break
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                if running_since is None:
                    self._console.notice("waiting", f"still waiting for {', '.join(late)}", "warning")
        self._console.ready(replace(self._welcome, new_key=self._new_key))
        self._new_key = ""

    def _late(self) -> list[str]:
        """What is not ready yet, each with its reason where it gives one."""
        late = [
            f"{name} ({child.reason})" if child.reason else name
            for name, child in self._children.items()
            if child.state is not State.READY
        ]
        return late + ([self._database_missing] if self._database_missing else [])

    def _start(self, program: Program) -> Child:
        assert self._guard is not None  # noqa: S101 - the guardian comes first
        guard = self._guard

        def listener(change: Change) -> None:
            self._news.set()
            self._console.change(change, program.address)

        child = Child(program, self._log(program.name), lambda: guard.group, listener)
        run = asyncio.create_task(child.run(), name=program.name)
        run.add_done_callback(self._note_end)
        self._children[program.name] = child
        self._runs.append(run)
        return child

    def _note_end(self, run: asyncio.Task[None]) -> None:
        if not run.cancelled() and (error := run.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _keep_house(self) -> None:
        orphans = Orphans()
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            for log in self._logs:
                log.rotate()
            if os.getpid() == 1:
                orphans.look(self._own_pids())

    def _log(self, name: str) -> Log:
        log = Log(self._data.logs / f"{name}.log")
        self._logs.append(log)
        return log

    async def _stop_everything(self, *, quietly: bool) -> None:
        if not quietly:
            self._console.notice("stopping", "stopping")
        if self._preparing is not None:
            await asyncio.gather(self._preparing, return_exceptions=True)
        children = sorted(self._children.values(), key=lambda child: child.program.stage)
        for stage in sorted({child.program.stage for child in children}):
            await asyncio.gather(*(c.stop(self._hurry) for c in children if c.program.stage == stage))
        await asyncio.gather(*self._runs, return_exceptions=True)
        if self._failed.done() and not self._failed.cancelled():
            self._failed.exception()  # it was read, or another failure was quicker
        if self._guard is not None:
            await self._guard.close()
        if self._lock is not None:
            self._lock.release()
        if not quietly:
            self._console.notice("stopped", "stopped")

    def _note_new_guardian(self, text: str) -> None:
        self._console.notice("guardian_restarted", text, "warning")

    def _say_waiting(self) -> None:
        self._console.notice(
            "waiting_for_lock", "the run before was killed; waiting for the last of its processes to end"
        )

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup the end of the terminal is no reason to stop.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.stop)

    def _own_pids(self) -> set[int]:
        guard = {self._guard.pid} if self._guard is not None else set()
        return guard | {child.pid for child in self._children.values()}
