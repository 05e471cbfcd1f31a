"""What the workers do: the jobs themselves, and the list of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from waypost.model import JobRun
from waypost.ports import AnswerSweep, ExpirySweep, Schedule

SWEEP_BATCH = 500


@dataclass(frozen=True, slots=True)
class Job:
    """A job that runs once each `interval`; `work` returns how many rows it changed."""

    name: str
    interval: timedelta
    work: Callable[[], Awaitable[int]]


async def sweep_expired(sweep: ExpirySweep) -> int:
    """Marks every link whose time is over, a batch at a time; returns how many.

    Redirects do not wait for it, they go by the time itself; the mark is for lists and for those who follow events.
    """
    total = 0
    while True:
        marked = await sweep.expire_batch(SWEEP_BATCH)
        total += marked
        if marked < SWEEP_BATCH:
            return total


async def forget_answers(sweep: AnswerSweep) -> int:
    """Forgets every answer kept for retries whose time is over, a batch at a time; returns how many.

    Requests do not wait for it, they go by the time itself; it keeps the table small.
    """
    total = 0
    while True:
        forgotten = await sweep.forget_batch(SWEEP_BATCH)
        total += forgotten
        if forgotten < SWEEP_BATCH:
            return total


async def list_jobs(jobs: Sequence[Job], schedule: Schedule) -> list[tuple[Job, JobRun | None]]:
    """All jobs with their last run on any worker; raises `DependencyUnavailable`."""
    runs = await schedule.last_runs()
    return [(job, runs.get(job.name)) for job in sorted(jobs, key=lambda job: job.name)]
