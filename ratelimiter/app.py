"""The rate limiter's composition root."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Gauge

from native.table import Table
from ratelimiter.handlers import Checker
from ratelimiter.rules import Rules, RulesError
from ratelimiter.service import RateLimitService
from ratelimiter.settings import Settings
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
    _watch_table(metrics.registry, table)
    await serve(
        Service(
            name="ratelimiter",
            settings=settings,
            control_port=settings.control_port,
            metrics_port=settings.metrics_port,
            servicers=[RateLimitService(Checker(rules, table, clock_us=lambda: time.time_ns() // 1000))],
            metrics=metrics,
        )
    )


def _watch_table(registry: CollectorRegistry, table: Table) -> None:
    Gauge("ratelimit_table_entries", "Counters in memory.", registry=registry).set_function(lambda: len(table))
    Gauge("ratelimit_table_overflows", "Keys sent to a shared counter so far.", registry=registry).set_function(
        lambda: table.overflows
    )
