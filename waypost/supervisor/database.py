"""The embedded PostgreSQL as a process of the mesh."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.environment import DATABASE_ROLES
from waypost.supervisor.postgres import PostgresCluster
from waypost.supervisor.probe import Health
from waypost.supervisor.process_table import look_up
from waypost.supervisor.program import Program, StopStep
from waypost.supervisor.settings import SupervisorSettings

FAST_SECONDS, IMMEDIATE_SECONDS = 20.0, 5.0
"""For a shutdown that writes everything out, and for one that leaves the rest to recovery."""
STAGE = 3
"""The services still write while they drain."""


class EmbeddedDatabase:
    """A `PostgresCluster` in the data directory; it listens on a unix socket only."""

    def __init__(self, settings: SupervisorSettings, data: DataDir) -> None:
        binaries = Path(settings.postgres_bin).expanduser().absolute() if settings.postgres_bin else None
        self._cluster = PostgresCluster(data.postgres, bin_dir=binaries, os_user=settings.postgres_user)

    def role_urls(self) -> dict[str, str]:
        """The address for each login role of a service, also before there is a database. Raises `CannotStart`."""
        return {role: self._cluster.url(role) for urls in DATABASE_ROLES.values() for role in urls.values()}

    def owner_url(self) -> str:
        """The address for the role that owns the schema. Raises `CannotStart`."""
        return self._cluster.url()

    def role_passwords(self) -> dict[str, str]:
        """The passwords of the login roles. Raises `CannotStart`."""
        return self._cluster.role_passwords()

    async def prepare(self, process_group: int) -> Program:
        """Makes the database if there is none (seconds, in a thread). Raises `CannotStart`."""
        cluster = self._cluster
        await asyncio.to_thread(cluster.initialise, process_group)
        return Program(
            name="postgres",
            argv=cluster.command(),
            env=cluster.env(),
            probe=self._probe,
            stop=(
                StopStep(cluster.stop_signal, FAST_SECONDS),
                StopStep(signal.SIGQUIT, IMMEDIATE_SECONDS),
            ),
            stage=STAGE,
            address=f"socket {cluster.socket_dir}",
            cwd=cluster.data,
            user=cluster.run_as(),
            # What it is busy with when it answers nobody (recovery, a full disk) is not mended by killing it.
            silence_is_fatal=False,
            before_start=self._clear_leftover,
        )

    async def _clear_leftover(self) -> None:
        # Also before a restart: the children of a server that was killed outlive it for a moment.
        await asyncio.to_thread(self._cluster.check_leftover)

    async def _probe(self) -> Health | None:
        pid = self._cluster.pid()
        # A file that a crash left behind says `ready` too, of a process that is no more.
        if pid is None or (running := look_up(pid)) is None or running.name != "postgres":
            return None
        return Health("ok") if self._cluster.ready() else Health("starting", "recovering")
