"""Scheduled jobs in PostgreSQL: their book, and the sweep of links whose time is over."""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import link_of
from waypost.adapters.postgres_outbox import PostgresOutbox
from waypost.adapters.postgres_transaction import PostgresTransaction
from waypost.adapters.queries import QUERIES
from waypost.ids import correlation_id
from waypost.model import EventType, JobRun, LinkEvent

MAX_ERROR_CHARACTERS = 1000


class PostgresSchedule:
    """The book of scheduled jobs: one row for each (job, tick), by the server's clock, so any number may compete."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def claim(self, job: str, interval: timedelta) -> JobRun | None:
        """Takes the current tick of `job`; None if some worker has it already. Old runs of the job go at the same
        time."""
        if interval <= timedelta(0):
            raise ValueError("a job's interval must be positive")
        async with self._postgres.connection() as session:
            row = await session.fetchrow(QUERIES["claim_tick"], job, interval)
        return None if row is None else _run_of(row)

    async def finish(self, run: JobRun, affected: int, error: str) -> None:
        """Notes how the run ended."""
        async with self._postgres.connection() as session:
            # No NUL: text cannot hold it.
            sentence = error.replace("\0", "")[:MAX_ERROR_CHARACTERS]
            await session.execute(QUERIES["finish_tick"], run.job, run.tick, affected, sentence)

    async def last_runs(self) -> dict[str, JobRun]:
        """The last run of each job that ever ran."""
        async with self._postgres.connection() as session:
            rows = await session.fetch(QUERIES["last_runs"])
        return {row["job"]: _run_of(row) for row in rows}


class PostgresExpirySweep:
    """Marks links whose time is over. `public_url` is what short addresses in events begin with."""

    def __init__(self, postgres: Postgres, public_url: str) -> None:
        self._postgres = postgres
        self._public_url = public_url

    async def expire_batch(self, limit: int) -> int:
        """Marks at most `limit` expired links, each with its event, in one transaction; returns how many.

        Sweeps at the same time share the links out among them.
        """
        async with self._postgres.connection() as session:
            await session.execute("BEGIN")
            work = PostgresTransaction(session)
            try:
                rows = await session.fetch(QUERIES["expire_links"], limit)
                correlation = correlation_id()
                outbox = PostgresOutbox(session, self._public_url)
                await outbox.add_all(LinkEvent(EventType.LINK_UPDATED, link_of(row), correlation) for row in rows)
                await work.commit()
            finally:
                await work.close()
        return len(rows)


def _run_of(row: asyncpg.Record) -> JobRun:
    return JobRun(
        job=row["job"],
        tick=row["tick"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        affected=row["affected"],
        error=row["error"],
    )
