"""Brings the database's schema and roles up to date, as soon as it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from waypost.backoff import Backoff
from waypost.supervisor.errors import CannotStart

Note = Callable[[str], None]
"""Takes what is being waited for, in a few words; empty when there is nothing any more."""

RETRIES = Backoff(base=0.1, cap=5.0, floor=0.05)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SETTINGS = ("28", "3D")  # the password or the user is wrong; there is no such database
_PRIVILEGE = "42501"


async def bring_up_to_date(
    url: str,
    role_passwords: Mapping[str, str],
    note: Note,
    first_key: Callable[[str], Awaitable[None]],
) -> None:
    """Migrates the database at `url` (the owner's), sets the login roles' passwords, if any are given, then calls
    `first_key` with the URL.

    A database that does not answer is tried again for ever: the services start without it. Raises `CannotStart` for
    what waiting does not mend.
    """
    # Not at the top: the driver is a tenth of the supervisor's memory and time to start, needed while services start.
    import asyncpg

    from waypost.adapters.migrate import MigrationError, migrate, set_role_passwords

    attempt = 0
    while True:
        try:
            await migrate(url)
            if role_passwords:
                await set_role_passwords(url, role_passwords)
            await first_key(url)
        except MigrationError as error:
            raise CannotStart(str(error), error.exit_code) from None
        except asyncpg.PostgresError as error:
            code = error.sqlstate or ""
            if code.startswith(_SETTINGS):
                raise CannotStart(f"WAYPOST_DATABASE_URL: {error}") from None
            if code == _PRIVILEGE:
                raise CannotStart(
                    f"WAYPOST_DATABASE_URL: its user may not bring the schema up to date ({error}); "
                    "it needs to own the database and CREATEROLE"
                ) from None
            note(f"the database ({error})")
        except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
            note(f"the database ({str(error) or type(error).__name__})")
        else:
            return
        await asyncio.sleep(RETRIES.delay(attempt))
        attempt += 1
