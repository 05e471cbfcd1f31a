"""Which processes make up one machine's mesh, and what has to happen to its database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from waypost.supervisor import dev_key
from waypost.supervisor.certificate_watch import Say
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.database import EmbeddedDatabase
from waypost.supervisor.edge import edge_certificate, edge_program, serves
from waypost.supervisor.environment import SERVICES
from waypost.supervisor.jwks_watch import watch_for
from waypost.supervisor.operator_key import Tell, first_operator_key, pepper_of
from waypost.supervisor.program import Program
from waypost.supervisor.schema import Note, bring_up_to_date
from waypost.supervisor.services import service_program
from waypost.supervisor.settings import SupervisorSettings


class Database(Protocol):
    """A database that is ours to run."""

    async def prepare(self, process_group: int) -> Program:
        """Makes it if need be, by programs in the mesh's process group; says how it runs. Raises `CannotStart`."""
        ...


Tend = Callable[[Say], Coroutine[None, None, None]]
"""Runs until it is cancelled, and is given where to say something."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """`programs` start at once, all together; the database as soon as it is prepared; then `migrate`.

    `tend`, if there is anything to tend, runs beside them until it is cancelled, and is given where to say something.
    Nothing of it is called before the data directory is locked. `migrate` takes a function that it tells what it waits
    for, and one that it tells the first operator key when it has made one. Both raise `CannotStart`.
    """

    programs: Callable[[], Sequence[Program]]
    database: Database | None
    migrate: Callable[[Note, Tell], Awaitable[None]]
    tend: Tend | None = None


def mesh_of(settings: SupervisorSettings, env: Mapping[str, str], data: DataDir) -> Mesh:
    """The mesh that the settings describe. Raises `BadSettings` for files they name that cannot be used."""
    certificate = edge_certificate(settings, data)
    tokens = watch_for(settings, data)
    database = EmbeddedDatabase(settings, data) if settings.embedded else None

    def programs() -> Sequence[Program]:
        if settings.dev_tokens:
            dev_key.load_or_make(data.path)
        urls = database.role_urls() if database is not None else {}
        pepper = pepper_of(data, env)
        services = [service_program(service, settings, env, data, urls, pepper) for service in SERVICES]
        return [*services, edge_program(settings, env, data, certificate, tokens)]

    async def migrate(note: Note, tell: Tell) -> None:
        async def first_key(url: str) -> None:
            await first_operator_key(url, data, pepper_of(data, env), tell)

        if database is not None:
            await bring_up_to_date(database.owner_url(), database.role_passwords(), note, first_key)
        else:
            await bring_up_to_date(settings.database_url.get_secret_value(), {}, note, first_key)

    tended: list[Tend] = []
    if certificate is not None:
        tended.append(partial(certificate.run, partial(serves, settings.envoy_admin_port)))
    if tokens is not None:
        tended.append(tokens.run)
    return Mesh(programs, database, migrate, partial(_tend_all, tended) if tended else None)


async def _tend_all(tended: Sequence[Tend], say: Say) -> None:
    async with asyncio.TaskGroup() as group:
        for one in tended:
            group.create_task(one(say))
