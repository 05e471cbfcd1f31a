"""The jobs themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from waypost.errors import DependencyUnavailable
from waypost.model import JobRun
from workers.handlers import SWEEP_BATCH, Job, forget_answers, list_jobs, sweep_expired


class Sweep:
    """So many links whose time is over; fails at the batch that it was told to fail at."""

    def __init__(self, expired: int, fails_at: int | None = None) -> None:
        self.expired = expired
        self.batches: list[int] = []
        self._fails_at = fails_at

    async def forget_batch(self, limit: int) -> int:
        return await self.expire_batch(limit)

    async def expire_batch(self, limit: int) -> int:
        if len(self.batches) == self._fails_at:
            raise DependencyUnavailable("postgres")
        marked = min(limit, self.expired)
        self.expired -= marked
        self.batches.append(marked)
        return marked


@pytest.mark.parametrize(
    ("expired", "batches"),
    [
        (0, [0]),
        (1, [1]),
        (SWEEP_BATCH - 1, [SWEEP_BATCH - 1]),
        (SWEEP_BATCH, [SWEEP_BATCH, 0]),
        (2 * SWEEP_BATCH + 7, [SWEEP_BATCH, SWEEP_BATCH, 7]),
    ],
)
async def test_sweep_goes_by_batches_until_one_is_not_full(expired: int, batches: list[int]) -> None:
    sweep = Sweep(expired)
    assert await sweep_expired(sweep) == expired
    assert (sweep.batches, sweep.expired) == (batches, 0)
    sweep = Sweep(expired)
    assert await forget_answers(sweep) == expired
    assert (sweep.batches, sweep.expired) == (batches, 0)


async def test_sweep_that_fails_keeps_what_it_has_done() -> None:
    sweep = Sweep(3 * SWEEP_BATCH, fails_at=1)
    with pytest.raises(DependencyUnavailable):
        await sweep_expired(sweep)
    assert sweep.expired == 2 * SWEEP_BATCH


class Book:
    """Knows the last runs."""

    def __init__(self, *runs: JobRun) -> None:
        self.runs = {run.job: run for run in runs}

    async def last_runs(self) -> dict[str, JobRun]:
        return self.runs

    async def claim(self, job: str, interval: timedelta) -> JobRun | None:
        raise NotImplementedError

    async def finish(self, run: JobRun, affected: int, error: str) -> None:
        raise NotImplementedError


async def nothing() -> int:
    return 0


async def test_jobs_are_listed_by_name_with_their_last_runs() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    jobs = [Job(name, timedelta(minutes=1), nothing) for name in ("late", "early", "never")]
    late, early, gone = (JobRun(name, now, now, None, 0, "") for name in ("late", "early", "of an older release"))
    listed = await list_jobs(jobs, Book(late, early, gone))
    assert [(job.name, run) for job, run in listed] == [("early", early), ("late", late), ("never", None)]
