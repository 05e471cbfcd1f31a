"""`waypost migrate`: brings a database to this version's schema."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping

import asyncpg
import click

from waypost.adapters import migrate as migrations
from waypost.cli.output import FAILED, NO_ANSWER, WRONG_USAGE, fail
from waypost.settings import BadSettings
from waypost.supervisor.environment import known_names
from waypost.supervisor.settings import SupervisorSettings

NAME = "WAYPOST_DATABASE_URL"

# Wrong user, password, database or URL: asking again will not help, another setting will.
_WRONG = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    # How the driver takes a URL that it cannot read, or one of its own errors that is a ValueError too.
    ValueError,
)
# It is there, but takes nobody now: it starts, stops, or is full.
_AWAY = (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, asyncpg.PostgresConnectionError)


def migrate(env: Mapping[str, str], *, as_json: bool) -> int:
    """Applies what is missing and prints it; returns the exit code."""
    try:
        settings = SupervisorSettings.from_env(env, known_names())
        url = settings.database_url.get_secret_value()
        if not url:
            raise BadSettings([f"{NAME} must be set (`waypost up` migrates its own database by itself)"])
        applied = asyncio.run(migrations.migrate(url))
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json)
    except migrations.MigrationError as error:
        return fail(error.exit_code, str(error), as_json)
    except _WRONG as error:
        return fail(WRONG_USAGE, f"{NAME} does not lead into a database: {error}", as_json)
    except (OSError, TimeoutError, *_AWAY) as error:
        return fail(NO_ANSWER, f"the database of {NAME} does not answer: {_cause(error)}", as_json)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return fail(FAILED, f"a migration failed and was undone: {error}", as_json)
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    else:
        click.echo("\n".join(f"applied {name}" for name in applied) if applied else "nothing to do")
    return 0


def _cause(error: BaseException) -> str:
    """The reason alone; the driver's own text names sockets and error numbers, or is empty."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "timed out"
