"""JobService, asked as its port asks it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from waypost.api.v1 import job_service_pb2 as pb
from waypost.model import JobRun
from workers.handlers import Job
from workers.service import JobService

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Book:
    """One job has run."""

    async def last_runs(self) -> dict[str, JobRun]:
        return {"b": JobRun("b", NOW, NOW, NOW, 3, "")}

    async def claim(self, job: str, interval: timedelta) -> JobRun | None:
        raise NotImplementedError

    async def finish(self, run: JobRun, affected: int, error: str) -> None:
        raise NotImplementedError


async def nothing() -> int:
    return 0


async def test_jobs_are_listed() -> None:
    jobs = [Job(name, timedelta(minutes=1), nothing) for name in ("b", "a")]
    response = await JobService(jobs, Book()).ListJobs(pb.ListJobsRequest(), None)
    assert [(job.name, job.HasField("last_run"), job.last_run.affected) for job in response.jobs] == [
        ("a", False, 0),
        ("b", True, 3),
    ]
