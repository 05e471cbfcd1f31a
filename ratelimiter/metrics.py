"""What the limiter tells Prometheus: decisions, the store's latency, the table. Labels are bounded."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from native import COMPILED, Table
from native.limits import Decision
from native.request import NOWHERE, Elsewhere, Question, Verdict
from ratelimiter.handlers import DecisionRecord
from ratelimiter.results import DescriptorStatus
from waypost.errors import StoreUnavailable
from waypost.ports import CounterStore

MAX_RULES = 1000
"""Most values of the label `rule`; what comes after is counted as `OTHER`."""
MAX_RULE = 300
"""Characters of it; rules with the same beginning are counted as one."""
OTHER = "other"
NO_RULE = "none"

ALLOWED, REFUSED, SHADOW_REFUSED = "allowed", "refused", "shadow_refused"
LOCAL, STORE = "local", "redis"

# Seconds: from a store on the same machine to one that is given up.
STORE_BUCKETS = (0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1)


T = TypeVar("T")

SAY_SECONDS = 60.0
"""At most so often the log says why the store fails."""


class DecisionMetrics(Collector):
    """Counts decisions: one for each descriptor, by its rule, what became of it, and who counted; a listener.

    Others that decide keep counts of their own, and add them when they are asked to (`follow`).
    """

    def __init__(self, registry: CollectorRegistry, most_rules: int = MAX_RULES) -> None:
        self._decisions = Counter(
            "ratelimit_decisions_total",
            "Descriptors decided on, by rule, decision (allowed, refused, shadow_refused) and who counted "
            "(local, redis, degraded: local instead of redis).",
            ["rule", "decision", "mode"],
            registry=None,
        )
        self._degraded = Counter(
            "ratelimit_degraded_answers_total", "Requests answered without the store.", registry=registry
        )
        self._others: list[Callable[[], None]] = []
        self._most_rules = most_rules
        self._rules: set[str] = set()
        self._children: dict[tuple[str, str, str], Counter] = {}
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The metric without its values."""
        return self._decisions.describe()

    def collect(self) -> Iterable[Metric]:
        """The metric as it is now."""
        for add_now in self._others:
            add_now()
        return self._decisions.collect()

    def follow(self, add_now: Callable[[], None]) -> None:
        """Has `add_now` called before each look at the metric: it calls `add` with what was counted since."""
        self._others.append(add_now)

    def on_decision(self, record: DecisionRecord) -> None:
        """Counts a request's descriptors."""
        for status in record.result.statuses:
            self.add(_rule_of(status), _decision_of(status), _mode_of(status))
        if record.result.degraded:
            self._degraded.inc()

    def add(self, rule: str, decision: str, mode: str, count: int = 1) -> None:
        """Counts so many descriptors of one kind. `rule` is its place, or `NO_RULE`."""
        rule = rule[:MAX_RULE]
        child = self._children.get((rule, decision, mode))
        if child is None:
            child = self._child(rule, decision, mode)
        child.inc(count)

    def _child(self, rule: str, decision: str, mode: str) -> Counter:
        if rule not in self._rules:
            if len(self._rules) >= self._most_rules:
                return self._decisions.labels(OTHER, decision, mode)
            self._rules.add(rule)
        child = self._decisions.labels(rule, decision, mode)
        self._children[rule, decision, mode] = child
        return child


def _rule_of(status: DescriptorStatus) -> str:
    match = status.match
    if match is None:
        return NO_RULE
    return match.metric_place or match.rule.place


def _decision_of(status: DescriptorStatus) -> str:
    if not status.over_limit:
        return ALLOWED
    return SHADOW_REFUSED if status.allowed else REFUSED


def _mode_of(status: DescriptorStatus) -> str:
    if status.degraded:
        return "degraded"
    return STORE if status.strict else LOCAL


class ObservedStore:
    """A store whose decisions are timed, with those that it failed to give; the log says why, now and then."""

    def __init__(self, store: CounterStore, registry: CollectorRegistry) -> None:
        self._store = store
        seconds = Histogram(
            "ratelimit_store_seconds",
            "Time of a strict decision by the store.",
            ["result"],
            buckets=STORE_BUCKETS,
            registry=registry,
        )
        self._say_at = float("-inf")
        # Made here, so that both are exported before the first decision.
        self._done, self._failed = seconds.labels("done"), seconds.labels("failed")

    async def decide(self, domain: str, questions: Sequence[Question], elsewhere: Elsewhere = NOWHERE) -> Verdict:
        """As the store does."""
        return await self.observe(self._store.decide(domain, questions, elsewhere))

    async def observe(self, deciding: Awaitable[T]) -> T:
        """Waits for a decision of the store, and times it."""
        started = time.perf_counter()
        try:
            decided = await deciding
        except StoreUnavailable as error:
            self._failed.observe(time.perf_counter() - started)
            self._say(error.reason)
            raise
        self._done.observe(time.perf_counter() - started)
        return decided

    def _say(self, reason: str) -> None:
        # A store that is there may still fail, by what it is or is not allowed: health does not see all of that.
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + SAY_SECONDS
            structlog.get_logger().warning("strict limits without store", error=reason)

    async def look(self, domain: str, questions: Sequence[Question]) -> tuple[Decision, ...]:
        """As the store does."""
        return await self._store.look(domain, questions)

    async def reset(self, domain: str, questions: Sequence[Question]) -> int:
        """As the store does."""
        return await self._store.reset(domain, questions)

    async def check(self) -> None:
        """As the store does."""
        await self._store.check()


class DoubtMetrics(Collector):
    """How many decisions the store was asked for and never told: they may have been charged."""

    def __init__(self, doubts: Callable[[], int]) -> None:
        self._doubts = doubts

    def collect(self) -> Iterable[Metric]:
        """The metric as it is now."""
        yield CounterMetricFamily("ratelimit_store_doubts", "Decisions of the store that were lost.", self._doubts())


class TableMetrics(Collector):
    """How full the table of counters is, and how it gets by."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        table = self._table
        yield GaugeMetricFamily("ratelimit_table_entries", "Counters in memory.", len(table))
        yield GaugeMetricFamily("ratelimit_table_capacity", "Most counters in memory.", table.capacity)
        yield GaugeMetricFamily("ratelimit_table_bytes", "Most memory of the counters.", table.memory_bytes)
        yield CounterMetricFamily("ratelimit_table_overflows", "Keys sent to a shared counter.", table.overflows)
        yield CounterMetricFamily("ratelimit_table_evictions", "Counters given up alive.", table.evictions)
        yield GaugeMetricFamily("ratelimit_compiled", "Whether the compiled core decides.", int(COMPILED))
