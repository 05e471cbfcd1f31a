"""The read path of redirects in PostgreSQL, and the clicks that links with a number of them take."""

from __future__ import annotations

import asyncpg

from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import could_be_code
from waypost.adapters.queries import QUERIES
from waypost.model import Redirect


class PostgresRedirectReader:
    """Reads what a redirect needs and nothing else."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def read_redirect(self, short_code: str) -> Redirect | None:
        """The redirect of exactly this code, in whatever state; None if there is none."""
        return await self._fetch("read_redirect", short_code)

    async def use_click(self, short_code: str) -> Redirect | None:
        """Takes one click of a limited link that is active; its redirect, as it was then. None: there was none to take.

        Exact, however many ask at once. An answer that is lost on the way has used its click.
        """
        return await self._fetch("use_click", short_code)

    async def _fetch(self, query: str, short_code: str) -> Redirect | None:
        if not could_be_code(short_code):
            return None
        async with self._postgres.connection() as session:
            row = await session.fetchrow(QUERIES[query], short_code)
        return None if row is None else _redirect_of(row)


def _redirect_of(row: asyncpg.Record) -> Redirect:
    return Redirect(
        short_code=row["short_code"],
        url=row["original_url"],
        redirect_status=row["redirect_status"],
        version=row["version"],
        blocked=row["blocked"],
        deleted=row["deleted"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        warned=row["warned"],
        limited=row["limited"],
        exhausted=row["exhausted"],
        forward_query=row["forward_query"],
    )
