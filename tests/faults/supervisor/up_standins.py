"""`waypost up` with stand-ins in place of the services: `up_standins.py PLAN`.

PLAN is JSON: for each process its port, the words for `standin.py`, its stage and the seconds of its stop. With
STANDIN_DATABASE set there is a real PostgreSQL as well.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from waypost.supervisor import supervisor
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.database import EmbeddedDatabase
from waypost.supervisor.environment import without_ours
from waypost.supervisor.mesh import Mesh
from waypost.supervisor.operator_key import Tell, first_operator_key, pepper_of
from waypost.supervisor.probe import service_probe
from waypost.supervisor.program import Program, StopStep
from waypost.supervisor.schema import Note, bring_up_to_date
from waypost.supervisor.settings import SupervisorSettings
from waypost.supervisor.up import up

STANDIN = str(Path(__file__).with_name("standin.py"))


def make_mesh(settings: SupervisorSettings, env: Mapping[str, str], data: DataDir) -> Mesh:
    database = EmbeddedDatabase(settings, data) if env.get("STANDIN_DATABASE") else None

    def programs() -> Sequence[Program]:
        return [
            Program(
                name=name,
                argv=(sys.executable, "-I", "-S", STANDIN, str(plan["port"]), *plan["words"]),
                env=without_ours(env),
                probe=service_probe("127.0.0.1", plan["port"]),
                stop=(StopStep(signal.SIGTERM, plan.get("seconds", 5.0)),),
                stage=plan.get("stage", 0),
            )
            for name, plan in json.loads(sys.argv[1]).items()
        ]

    async def migrate(note: Note, tell: Tell) -> None:
        if database is not None:
            first_key = partial(first_operator_key, data=data, pepper=pepper_of(data, env), tell=tell)
            await bring_up_to_date(database.owner_url(), database.role_passwords(), note, first_key)

    return Mesh(programs, database, migrate)


if __name__ == "__main__":
    supervisor.DEGRADED_SECONDS = 1.0
    sys.exit(up(os.environ, make_mesh))
