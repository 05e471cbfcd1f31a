"""Jobs as the contract has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from waypost.model import JobRun
from workers.convert import job_to_proto
from workers.handlers import Job

NOW = datetime(2026, 6, 1, 12, 0, 0, 123_456, tzinfo=UTC)


async def nothing() -> int:
    return 0


JOB = Job("expiry_sweep", timedelta(seconds=90), nothing)


def test_job_that_never_ran() -> None:
    proto = job_to_proto(JOB, None)
    assert (proto.name, proto.interval.ToTimedelta()) == ("expiry_sweep", timedelta(seconds=90))
    assert not proto.HasField("last_run")


def test_job_that_runs() -> None:
    run = job_to_proto(JOB, JobRun("expiry_sweep", NOW, NOW + timedelta(seconds=1), None, 0, "")).last_run
    assert run.tick.ToDatetime(UTC) == NOW
    assert run.started_at.ToDatetime(UTC) == NOW + timedelta(seconds=1)
    assert not run.HasField("finished_at")


def test_job_that_ran() -> None:
    end = NOW + timedelta(seconds=2)
    run = job_to_proto(JOB, JobRun("expiry_sweep", NOW, NOW, end, 7, "postgres does not answer")).last_run
    assert run.finished_at.ToDatetime(UTC) == end
    assert (run.affected, run.error) == (7, "postgres does not answer")
