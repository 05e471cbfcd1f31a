"""The scheduler: each tick once among all workers, and on it goes whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tests.support.waiting import until
from waypost.errors import DependencyUnavailable
from waypost.model import JobRun
from workers.handlers import Job
from workers.schedule import JobMetrics, Scheduler

EPOCH = datetime(2026, 6, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Book:
    """A schedule that all schedulers share; the tick is what a test says it is."""

    def __init__(self) -> None:
        self.tick = 0
        self.runs: dict[tuple[str, datetime], JobRun] = {}
        self.claims = 0
        self.claim_error: Exception | None = None
        self.finish_error: Exception | None = None

    async def claim(self, job: str, interval: timedelta) -> JobRun | None:
        self.claims += 1
        # A store takes its time, in which others ask.
        await asyncio.sleep(0)
        if self.claim_error is not None:
            raise self.claim_error
        tick = EPOCH + self.tick * interval
        if (job, tick) in self.runs:
            return None
        self.runs[job, tick] = JobRun(job, tick, tick, None, 0, "")
        return self.runs[job, tick]

    async def finish(self, run: JobRun, affected: int, error: str) -> None:
        if self.finish_error is not None:
            raise self.finish_error
        self.runs[run.job, run.tick] = replace(run, finished_at=run.tick, affected=affected, error=error)

    async def last_runs(self) -> dict[str, JobRun]:
        return {job: run for (job, _), run in sorted(self.runs.items())}

    def ended(self) -> list[tuple[int, str]]:
        """What the runs that are over have brought, by tick."""
        return [(run.affected, run.error) for _, run in sorted(self.runs.items()) if run.finished_at is not None]


class Worker:
    """A scheduler with its metrics."""

    def __init__(self, book: Book, *jobs: Job) -> None:
        self.registry = CollectorRegistry()
        self.scheduler = Scheduler(jobs, book, JobMetrics(self.registry), look=lambda _: 0.0)

    def counted(self, job: str, result: str) -> float:
        return self.registry.get_sample_value("job_runs_total", {"job": job, "result": result}) or 0.0


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Runs the workers' schedulers; none of them may end by itself."""
    tasks = [asyncio.create_task(worker.scheduler.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * len(tasks)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def job(work: Callable[[], Awaitable[int]], name: str = "job") -> Job:
    return Job(name, MINUTE, work)


async def looks(book: Book, number: int = 20) -> None:
    """Waits until the book was asked so often again."""
    before = book.claims
    await until(lambda: book.claims >= before + number)


async def test_each_tick_is_run_once_among_many() -> None:
    book, ran = Book(), []

    async def work() -> int:
        ran.append(book.tick)
        return 1

    workers = [Worker(book, job(work)) for _ in range(5)]
    async with running(*workers):
        for tick in range(10):
            book.tick = tick
            await until(lambda: len(book.ended()) == book.tick + 1)
            await looks(book)
    assert ran == list(range(10))
    assert sum(worker.counted("job", "done") for worker in workers) == 10


async def test_jobs_do_not_wait_for_each_other() -> None:
    book, release = Book(), asyncio.Event()
    quick: list[int] = []

    async def slow() -> int:
        await release.wait()
        return 1

    async def fast() -> int:
        quick.append(book.tick)
        return 1

    async with running(Worker(book, job(slow, "slow"), job(fast, "fast"))):
        for tick in range(3):
            book.tick = tick
            await until(lambda: len(quick) == book.tick + 1)
        assert ("slow", EPOCH) in book.runs
        release.set()
        await until(lambda: len(book.ended()) == 5)


async def test_failure_is_noted_and_the_next_tick_runs() -> None:
    book = Book()

    async def work() -> int:
        if book.tick == 0:
            raise ValueError("no luck")
        if book.tick == 1:
            raise KeyError
        return 7

    worker = Worker(book, job(work))
    with capture_logs() as logs:
        async with running(worker):
            for tick in range(3):
                book.tick = tick
                await until(lambda: len(book.ended()) == book.tick + 1)
                await looks(book)
    # Not tried again within its tick; an error without a text has its name.
    assert book.ended() == [(0, "no luck"), (0, "KeyError"), (7, "")]
    assert (worker.counted("job", "failed"), worker.counted("job", "done")) == (2, 1)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["job failed", "job failed"]
    assert worker.registry.get_sample_value("job_duration_seconds_count", {"job": "job"}) == 3


async def test_job_whose_dependency_is_away_has_failed() -> None:
    book = Book()

    async def work() -> int:
        raise DependencyUnavailable("postgres")

    with capture_logs():
        async with running(Worker(book, job(work))):
            await until(lambda: len(book.ended()) == 1)
    assert "postgres" in book.ended()[0][1]


@pytest.mark.parametrize("error", [DependencyUnavailable("postgres"), RuntimeError("a defect")])
async def test_store_that_is_away_is_asked_again_later(error: Exception) -> None:
    book, ran = Book(), []

    async def work() -> int:
        ran.append(book.tick)
        return 1

    book.claim_error = error
    with capture_logs() as logs:
        async with running(Worker(book, job(work, "one"), job(work, "two"))):
            await looks(book)
            assert ran == []
            book.claim_error = None
            await until(lambda: len(book.ended()) == 2)
    assert {line["event"] for line in logs if line["log_level"] in ("warning", "error")} == {"job not run"}


@pytest.mark.parametrize("error", [DependencyUnavailable("postgres")])
async def test_run_that_cannot_be_noted_has_run_all_the_same(error: Exception) -> None:
    book, ran = Book(), []

    async def work() -> int:
        ran.append(book.tick)
        return 1

    book.finish_error = error
    worker = Worker(book, job(work))
    with capture_logs() as logs:
        async with running(worker):
            await until(lambda: len(ran) == 1)
            await looks(book)
            book.finish_error = None
            book.tick = 1
            await until(lambda: len(book.ended()) == 1)
    assert ran == [0, 1]
    assert worker.counted("job", "done") == 2
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["job run not noted"]


async def test_stop_ends_a_run_that_is_under_way() -> None:
    book, began = Book(), asyncio.Event()

    async def work() -> int:
        began.set()
        await asyncio.Event().wait()
        return 1

    async with running(Worker(book, job(work))):
        await began.wait()
    assert book.ended() == []


async def test_tick_says_whether_it_ran_here() -> None:
    book = Book()

    async def work() -> int:
        return 0

    one = job(work)
    worker = Worker(book, one)
    assert await worker.scheduler.tick(one)
    assert not await worker.scheduler.tick(one)
    book.claim_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await worker.scheduler.tick(one)


def test_looks_often_enough_in_each_interval() -> None:
    scheduler = Scheduler([], Book(), JobMetrics(CollectorRegistry()))
    assert [scheduler._look(seconds) for seconds in (1.0, 20.0, 86_400.0)] == [0.25, 5.0, 5.0]
