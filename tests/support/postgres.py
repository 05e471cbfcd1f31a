"""A private PostgreSQL for tests: one cluster a session, a fresh migrated database for whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tests.support.missing import missing
from waypost.adapters.migrate import migrate, set_role_passwords
from waypost.supervisor.postgres import DATABASE, OWNER, ClusterError, PostgresCluster

T = TypeVar("T")

SETTINGS = {"shared_buffers": "16MB", "fsync": "off", "max_connections": "100", "autovacuum": "off"}
"""Tests kill processes, never the machine: what the kernel holds is safe enough."""

EMPTY = "waypost_empty"


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a cluster."""

    cluster: PostgresCluster
    name: str

    def url(self, role: str = OWNER) -> str:
        """Its address for a role; the owner is a superuser."""
        return self.cluster.url(role, self.name)


class Server:
    """A cluster with its running server. Not to be shared by tests that kill it: those make their own."""

    def __init__(self, folder: Path, port: int | None = None, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.cluster = PostgresCluster(folder, port, settings=SETTINGS | (settings or {}), sync=False)
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def make(self, *, migrated: bool = True) -> None:
        """Makes the cluster, starts it and migrates the template that databases are copied from."""
        self.cluster.initialise()
        self.start()
        if not migrated:
            return
        run(migrate(self.cluster.url()))
        run(set_role_passwords(self.cluster.url(), self.cluster.role_passwords()))
        run(self._execute(f"CREATE DATABASE {EMPTY}"))

    def start(self) -> None:
        """Starts the server and waits until it is ready."""
        self.spawn()
        process = self.process
        assert process is not None
        self.cluster.wait_ready(60, alive=lambda: process.poll() is None)

    def spawn(self) -> None:
        """Starts the server."""
        ids = self.cluster.run_as()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.cluster.command(),
                env=self.cluster.env(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=ids[0] if ids else None,
                group=ids[1] if ids else None,
                extra_groups=[] if ids else None,
            )

    def stop(self, number: signal.Signals = PostgresCluster.stop_signal) -> None:
        """Ends the server and waits for its process; what does not end is killed."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None
        self.cluster.check_leftover()

    def signal_all(self, number: signal.Signals) -> None:
        """Sends a signal to the server and every process it has made."""
        assert self.process is not None
        pids = [self.process.pid, *(int(pid) for pid in _children(self.process.pid))]
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def make_database(self, *, empty: bool = False) -> Database:
        """A fresh database, migrated unless `empty`. May be called from anywhere, also inside an event loop."""
        name = f"test_{next(self._numbers)}"
        template = EMPTY if empty else DATABASE
        run(self._execute(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return Database(self.cluster, name)

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.cluster.url(database="postgres"), timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def temporary_server(settings: dict[str, str] | None = None) -> Server:
    """A server in a folder of its own, not made yet. Skips the test without PostgreSQL, or fails it where CI is set."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # its server runs as another user
    return Server(folder / "pg", settings=settings)


def make_or_skip(server: Server, *, migrated: bool = True) -> None:
    """Makes the server; where there are no programs to make it from, skips, or fails if the variable CI is set."""
    try:
        server.make(migrated=migrated)
    except ClusterError as error:
        missing(f"no PostgreSQL: {error}")


def dispose(server: Server) -> None:
    """Stops the server and removes its folder."""
    server.stop(signal.SIGQUIT)
    shutil.rmtree(server.folder.parent, ignore_errors=True)


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A made server for the time of the block."""
    server = temporary_server()
    try:
        make_or_skip(server)
        yield server
    finally:
        dispose(server)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end on a loop of its own in a thread, so that callers may be in a loop or not."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
