"""Runs jobs by the clock: each tick of a job once, however many workers there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from waypost.errors import WaypostError
from waypost.ports import Schedule
from workers.handlers import Job


class JobMetrics:
    """`job_runs_total{job,result}` and how long runs take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "job_runs_total", "Runs of scheduled jobs on this worker.", ["job", "result"], registry=registry
        )
        self.seconds = Histogram("job_duration_seconds", "Time that a run takes.", ["job"], registry=registry)


class Scheduler:
    """Tries to take the current tick of each job, several times in each interval; the schedule lets one worker have it.

    `look` says how many seconds to wait between two tries, given the interval in seconds. A failed run is noted and not
    tried again before the next tick.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        schedule: Schedule,
        metrics: JobMetrics,
        look: Callable[[float], float] = lambda interval: min(interval / 4, 5.0),
    ) -> None:
        self._jobs = jobs
        self._schedule = schedule
        self._metrics = metrics
        self._look = look
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Runs all jobs until cancelled."""
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(self._keep_running(job), name=f"job {job.name}")

    async def _keep_running(self, job: Job) -> None:
        while True:
            try:
                await self.tick(job)
            except WaypostError as error:
                self._log.warning("job not run", job=job.name, error=str(error))
            except Exception:
                # A defect in one job's book must not take the others down with it.
                self._log.exception("job not run", job=job.name)
            await asyncio.sleep(self._look(job.interval.total_seconds()))

    async def tick(self, job: Job) -> bool:
        """Runs the job for the current tick unless somebody has or had it; whether it ran here.

        Raises `DependencyUnavailable` when the schedule does not answer to the question. That a run is over goes
        unnoted if it cannot be noted: its tick is taken all the same.
        """
        run = await self._schedule.claim(job.name, job.interval)
        if run is None:
            return False
        started = time.perf_counter()
        affected, problem = 0, ""
        try:
            affected = await job.work()
        except Exception as error:
            problem = str(error) or type(error).__name__
            self._log.exception("job failed", job=job.name, tick=run.tick.isoformat())
        seconds = time.perf_counter() - started
        self._metrics.runs.labels(job.name, "failed" if problem else "done").inc()
        self._metrics.seconds.labels(job.name).observe(seconds)
        if affected or problem:
            self._log.info(
                "job run", job=job.name, tick=run.tick.isoformat(), affected=affected, seconds=round(seconds, 3)
            )
        try:
            await self._schedule.finish(run, affected, problem)
        except WaypostError as error:
            self._log.warning("job run not noted", job=job.name, tick=run.tick.isoformat(), error=str(error))
        return True
