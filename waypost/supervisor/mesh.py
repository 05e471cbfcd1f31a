"""Which processes make up one machine's mesh, and what has to happen to its database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.database import EmbeddedDatabase
from waypost.supervisor.edge import edge_program
from waypost.supervisor.environment import SERVICES
from waypost.supervisor.program import Program
from waypost.supervisor.schema import Note, bring_up_to_date
from waypost.supervisor.services import service_program
from waypost.supervisor.settings import SupervisorSettings


class Database(Protocol):
    """A database that is ours to run."""

    async def prepare(self, process_group: int) -> Program:
        """Makes it if need be, by programs in the mesh's process group; says how it runs. Raises `CannotStart`."""
        ...


@dataclass(frozen=True, slots=True)
class Mesh:
    """`programs` start at once, all together; the database as soon as it is prepared; then `migrate`.

    Nothing of it is called before the data directory is locked. `migrate` takes a function that it tells what it waits
    for. Both raise `CannotStart`.
    """

    programs: Callable[[], Sequence[Program]]
    database: Database | None
    migrate: Callable[[Note], Awaitable[None]]


def mesh_of(settings: SupervisorSettings, env: Mapping[str, str], data: DataDir) -> Mesh:
    """The mesh that the settings describe."""
    database = EmbeddedDatabase(settings, data) if settings.embedded else None

    def programs() -> Sequence[Program]:
        urls = database.role_urls() if database is not None else {}
        services = [service_program(service, settings, env, data, urls) for service in SERVICES]
        return [*services, edge_program(settings, env, data)]

    async def migrate(note: Note) -> None:
        if database is not None:
            await bring_up_to_date(database.owner_url(), database.role_passwords(), note)
        else:
            await bring_up_to_date(settings.database_url.get_secret_value(), {}, note)

    return Mesh(programs, database, migrate)
