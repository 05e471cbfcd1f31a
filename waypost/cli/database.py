"""`waypost migrate`: brings a database to this version's schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import asyncpg
import click

from waypost.adapters import migrate as migrations
from waypost.settings import BadSettings
from waypost.supervisor.environment import known_names
from waypost.supervisor.settings import SupervisorSettings


def migrate(env: Mapping[str, str], *, as_json: bool) -> int:
    """Applies what is missing and prints it."""
    try:
        settings = SupervisorSettings.from_env(env, known_names())
        url = settings.database_url.get_secret_value()
        if not url:
            raise BadSettings(["WAYPOST_DATABASE_URL must be set (`waypost up` migrates its own database by itself)"])
        applied = asyncio.run(migrations.migrate(url))
    except (BadSettings, migrations.SchemaTooNew) as error:
        return _fail(2, str(error), as_json)
    except (OSError, TimeoutError) as error:
        return _fail(3, f"the database of WAYPOST_DATABASE_URL does not answer: {error}", as_json)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, migrations.MigrationError) as error:
        return _fail(1, f"the migration failed and was undone: {error}", as_json)
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    else:
        click.echo("\n".join(f"applied {name}" for name in applied) if applied else "nothing to do")
    return 0


def _fail(code: int, message: str, as_json: bool) -> int:
    click.echo(json.dumps({"message": message}) if as_json else f"waypost: {message}", err=True)
    return code
