"""The rate limiter's composition root."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from native import Table
from ratelimiter.handlers import Checker
from ratelimiter.results import CheckResult
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import Rules, RulesError
from ratelimiter.service import RateLimitService
from ratelimiter.settings import Settings
from waypost.adapters.access import access_control
from waypost.clock import ServerClock, SteadyClock
from waypost.rpc.process import Service, serve
from waypost.settings import BadSettings
from waypost.telemetry import Metrics


async def run(settings: Settings) -> None:
    """Runs the rate limiter until it is told to stop; raises `BadSettings` for rules that do not load."""
    try:
        rules = Rules.load(settings.rules_folder())
    except RulesError as error:
        raise BadSettings([f"WAYPOST_LIMITS_DIR: {problem}" for problem in error.problems]) from None
    metrics = Metrics("ratelimiter")
    table = Table(settings.table_capacity)
    watch_table(metrics.registry, table)
    checker = Checker(RuleBook(rules, datetime.now(UTC)), table, clock_us=SteadyClock())
    async with access_control(settings, "ratelimiter", ServerClock()) as control:
        await serve(
            Service(
                name="ratelimiter",
                settings=settings,
                control_port=settings.control_port,
                metrics_port=settings.metrics_port,
                servicers=[RateLimitService(checker, count_decisions(metrics.registry))],
                gate=[control.gate],
                metrics=metrics,
                checks=control.checks,
                tasks=control.tasks,
            )
        )


def watch_table(registry: CollectorRegistry, table: Table) -> None:
    """Exports how full `table` is and how it gets by."""
    Gauge("ratelimit_table_entries", "Counters in memory.", registry=registry).set_function(lambda: len(table))
    Gauge("ratelimit_table_overflows", "Keys sent to a shared counter so far.", registry=registry).set_function(
        lambda: table.overflows
    )
    Gauge("ratelimit_table_evictions", "Counters given up alive so far.", registry=registry).set_function(
        lambda: table.evictions
    )


def count_decisions(registry: CollectorRegistry) -> Callable[[CheckResult], None]:
    """A listener that counts decisions by what they were."""
    counter = Counter("ratelimit_decisions_total", "Requests decided on.", ["decision"], registry=registry)
    # Made here, so that both are exported before the first request.
    allowed, refused = counter.labels("allowed"), counter.labels("refused")
    return lambda result: (allowed if result.allowed else refused).inc()
