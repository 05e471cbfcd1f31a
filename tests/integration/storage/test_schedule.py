"""Scheduled jobs: one worker a tick, and the sweep of links whose time is over."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.links import new_link, store
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_jobs import PostgresExpirySweep, PostgresSchedule
from waypost.adapters.postgres_links import PostgresStorage
from waypost.api.v1 import event_pb2, link_service_pb2
from waypost.ports import ExpirySweep, Schedule

HOUR = timedelta(hours=1)
AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def schedule(sweeper: Postgres) -> Schedule:
    return PostgresSchedule(sweeper)


@pytest.fixture
def sweep(sweeper: Postgres) -> ExpirySweep:
    return PostgresExpirySweep(sweeper, "https://way.example")


async def test_one_of_many_takes_a_tick(schedule: Schedule) -> None:
    claims = await asyncio.gather(*(schedule.claim("sweep", 24 * HOUR) for _ in range(4)))
    taken = [run for run in claims if run is not None]
    assert len(taken) == 1
    assert (taken[0].tick.hour, taken[0].tick.minute, taken[0].tick.microsecond) == (0, 0, 0)
    assert taken[0].finished_at is None
    assert await schedule.claim("other", 24 * HOUR) is not None, "jobs do not share ticks"


async def test_how_a_run_ended_is_kept(schedule: Schedule) -> None:
    assert await schedule.last_runs() == {}
    for job in ("a", "b"):
        run = await schedule.claim(job, HOUR)
        assert run is not None
        await schedule.finish(run, 7, "" if job == "a" else "it\0broke " + "x" * 9000)
    runs = await schedule.last_runs()
    assert sorted(runs) == ["a", "b"]
    assert (runs["a"].affected, runs["a"].error) == (7, "")
    assert runs["a"].finished_at is not None
    assert runs["b"].error.startswith("itbroke")


async def test_last_runs_are_the_last_and_old_ones_go(schedule: Schedule, owner: asyncpg.Connection) -> None:
    await owner.execute(
        "INSERT INTO job_runs (job, tick, finished_at, affected)"
        "SELECT job, at, at, 1 FROM unnest(array['a', 'b']) AS job, unnest(array[now() - interval '3 days',"
        "now() - interval '2 hours']) AS at"
    )
    run = await schedule.claim("a", HOUR)
    assert run is not None
    runs = await schedule.last_runs()
    assert runs["a"] == run
    assert runs["b"].affected == 1
    assert await owner.fetchval("SELECT count(*) FROM job_runs WHERE job = 'a'") == 2
    assert await owner.fetchval("SELECT count(*) FROM job_runs WHERE job = 'b'") == 2


async def test_an_interval_must_be_positive(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="positive"):
        await schedule.claim("a", timedelta(0))


async def test_the_sweep_marks_each_link_once_with_its_event(
    sweep: ExpirySweep, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    for number in range(5):
        await store(storage, new_link(f"expired{number}", expires_at=AGO))
    await store(storage, new_link("living1", expires_at=datetime.now(UTC) + HOUR))
    await store(storage, new_link("forever"))
    await owner.execute("UPDATE links SET deleted_at = now() WHERE short_code = 'expired4'")
    assert [await sweep.expire_batch(3), await sweep.expire_batch(3), await sweep.expire_batch(3)] == [3, 1, 0]
    rows = await owner.fetch("SELECT subject, type, version, payload FROM outbox ORDER BY subject")
    assert [row["subject"] for row in rows] == [f"expired{number}" for number in range(4)]
    for row in rows:
        event = event_pb2.Event.FromString(row["payload"])
        assert (row["type"], row["version"]) == ("link_updated", 2)
        assert event.link.state == link_service_pb2.LINK_STATE_EXPIRED
        assert event.correlation_id


async def test_sweeps_at_once_share_the_links(sweep: ExpirySweep, owner: asyncpg.Connection) -> None:
    await owner.execute(
        "INSERT INTO links (workspace_id, short_code, original_url, redirect_status, expires_at)"
        "SELECT '00000000-0000-0000-0000-000000000001', 'many' || n, 'https://example.org', 302, '2020-01-01'"
        "FROM generate_series(1000, 1199) AS n"
    )
    counts = await asyncio.gather(*(sweep.expire_batch(50) for _ in range(4)))
    assert sum(counts) + sum([await sweep.expire_batch(200)]) == 200
    assert await owner.fetchval("SELECT count(DISTINCT subject) FROM outbox") == 200
    assert await owner.fetchval("SELECT count(*) FROM outbox") == 200


async def test_a_link_that_gets_more_time_expires_again(
    sweep: ExpirySweep, storage: PostgresStorage, owner: asyncpg.Connection
) -> None:
    await store(storage, new_link(expires_at=AGO))
    assert await sweep.expire_batch(10) == 1
    await owner.execute("UPDATE links SET expires_at = '2021-01-01'")
    assert await sweep.expire_batch(10) == 1
