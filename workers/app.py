"""The workers' composition root."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from waypost.adapters.access import access_control
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_answers import PostgresAnswerSweep
from waypost.adapters.postgres_jobs import PostgresExpirySweep, PostgresSchedule
from waypost.clock import ServerClock
from waypost.rpc.health import Check
from waypost.rpc.process import Service, serve
from waypost.telemetry import Metrics
from workers.handlers import Job, forget_answers, sweep_expired
from workers.schedule import JobMetrics, Scheduler
from workers.service import JobService
from workers.settings import Settings

_ANSWER_SWEEP_INTERVAL = timedelta(minutes=5)


async def run(settings: Settings) -> None:
    """Runs the workers until they are told to stop."""
    metrics = Metrics("workers")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Postgres(
                settings.sweeper_dsn(), "waypost_sweeper", application_name="workers", max_size=4, command_timeout=10.0
            )
        )
        schedule = PostgresSchedule(database)
        sweep = partial(sweep_expired, PostgresExpirySweep(database, settings.public_url))
        jobs = [
            Job("expiry_sweep", timedelta(seconds=settings.sweep_interval_seconds), sweep),
            Job("answer_sweep", _ANSWER_SWEEP_INTERVAL, partial(forget_answers, PostgresAnswerSweep(database))),
        ]
        control = await stack.enter_async_context(access_control(settings, "workers", ServerClock()))
        await serve(
            Service(
                name="workers",
                settings=settings,
                control_port=settings.control_port,
                metrics_port=settings.metrics_port,
                servicers=[JobService(jobs, schedule)],
                gate=[control.gate],
                metrics=metrics,
                checks=[Check("postgres", database.check), *control.checks],
                tasks=[Scheduler(jobs, schedule, JobMetrics(metrics.registry)).run, *control.tasks],
            )
        )
