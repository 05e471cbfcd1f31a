"""What the limiter tells Prometheus."""

from __future__ import annotations

import pytest
import structlog
from prometheus_client import CollectorRegistry

import native
from native import Table
from native.limits import Algorithm, Limit
from native.request import Question
from ratelimiter.handlers import DecisionRecord
from ratelimiter.metrics import DecisionMetrics, ObservedStore, TableMetrics
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from tests.support.limiter import Limiter
from waypost.errors import StoreUnavailable
from waypost.model import LimitEntry

RULES = """
domain: test
descriptors:
  - {key: one, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: local, rate_limit: {unit: day, requests_per_unit: 1, consistency: local}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 0}}
  - {key: detailed, detailed_metric: true, rate_limit: {unit: day, requests_per_unit: 9}}
  - {key: free, rate_limit: {unlimited: true}}
"""


class World:
    """Metrics of a limiter with a store."""

    def __init__(self, most_rules: int = 1000) -> None:
        self.limiter = Limiter(RULES, strict=True)
        self.registry = CollectorRegistry()
        self.metrics = DecisionMetrics(self.registry, most_rules)

    async def check(self, *keys: str, override: LimitNumbers | None = None) -> None:
        pairs = [key.partition("=") for key in keys]
        descriptors = tuple(Descriptor((LimitEntry(key, value),), override=override) for key, _, value in pairs)
        request = LimitRequest("test", descriptors)
        self.metrics.on_decision(DecisionRecord(request, await self.limiter.checker.check(request)))

    def decisions(self) -> dict[tuple[str, str, str], float]:
        return {
            (sample.labels["rule"], sample.labels["decision"], sample.labels["mode"]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "ratelimit_decisions_total"
        }

    def degraded(self) -> float | None:
        return self.registry.get_sample_value("ratelimit_degraded_answers_total")


async def test_decisions_by_rule_by_what_they_were_and_by_who_counted() -> None:
    world = World()
    await world.check("one", "local", "shadow", "free", "none")
    await world.check("one", "local")
    world.limiter.store.fails = True
    await world.check("one=x")
    assert world.decisions() == {
        ("test.one", "allowed", "redis"): 1,
        ("test.one", "refused", "redis"): 1,
        ("test.one", "allowed", "degraded"): 1,
        ("test.local", "allowed", "local"): 1,
        ("test.local", "refused", "local"): 1,
        ("test.shadow", "shadow_refused", "redis"): 1,
        ("test.free", "allowed", "local"): 1,
        ("none", "allowed", "local"): 1,
    }
    assert world.degraded() == 1


async def test_a_detailed_rule_has_the_requests_values_and_overrides_have_one_name() -> None:
    world = World()
    await world.check("detailed=a", "detailed=b")
    await world.check("nobody=a", "nobody=b", override=LimitNumbers(5, 1_000_000))
    await world.check("one=a", "one=b", override=LimitNumbers(5, 1_000_000))
    assert {rule for rule, _, _ in world.decisions()} == {
        "test.detailed_a",
        "test.detailed_b",
        "override",
        "test.one",
    }


async def test_the_label_has_a_most_number_of_values() -> None:
    world = World(most_rules=2)
    for number in range(5):
        await world.check(f"detailed={number}")
    await world.check("detailed=0", "one")
    assert world.decisions() == {
        ("test.detailed_0", "allowed", "redis"): 2,
        ("test.detailed_1", "allowed", "redis"): 1,
        ("other", "allowed", "redis"): 4,
    }


async def test_the_values_of_the_label_have_a_most_length() -> None:
    world = World()
    await world.check(f"detailed={'x' * 4000}")
    await world.check(f"detailed={'x' * 4001}")
    ((rule, _, _),) = world.decisions()
    assert (len(rule), rule[:16]) == (300, "test.detailed_xx")
    assert list(world.decisions().values()) == [2]


async def test_the_stores_decisions_are_timed() -> None:
    limiter, registry = Limiter(RULES, strict=True), CollectorRegistry()
    store = ObservedStore(limiter.store, registry)
    question = Question(("rule",), ("x",), Limit(Algorithm.FIXED_WINDOW, 2, 1_000_000), 1)

    def count(result: str) -> float | None:
        return registry.get_sample_value("ratelimit_store_seconds_count", {"result": result})

    assert (count("done"), count("failed")) == (0, 0)
    assert (await store.decide("test", [question])).admitted
    assert (await store.look("test", [question]))[0].remaining == 1
    assert await store.reset("test", [question]) == 1
    await store.check()
    limiter.store.fails = True
    with pytest.raises(StoreUnavailable):
        await store.decide("test", [question])
    assert (count("done"), count("failed")) == (1, 1)
    assert registry.get_sample_value("ratelimit_store_seconds_bucket", {"result": "done", "le": "0.0001"}) is not None


async def test_the_log_says_why_the_store_fails_but_not_each_time() -> None:
    limiter = Limiter(RULES, strict=True)
    store = ObservedStore(limiter.store, CollectorRegistry())
    limiter.store.fails = True
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(StoreUnavailable) as raised:
                await store.decide(
                    "test", [Question(("rule",), ("x",), Limit(Algorithm.FIXED_WINDOW, 2, 1_000_000), 1)]
                )
    assert [(line["log_level"], line["error"]) for line in lines] == [("warning", raised.value.reason)]


def test_the_table_is_watched() -> None:
    registry, table = CollectorRegistry(), Table(1)
    registry.register(TableMetrics(table))
    limit = Limit(Algorithm.FIXED_WINDOW, 3, 1_000_000)

    def take(name: str, hits: int) -> None:
        table.take([Question(("rule",), (name,), limit, hits)], 0)

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"ratelimit_{name}")

    take("a", 1)
    take("b", 3)
    names = ["table_entries", "table_capacity", "table_evictions_total", "table_overflows_total"]
    assert [value(name) for name in names] == [1, table.capacity, 1, 0]
    take("c", 1)
    assert value("table_overflows_total") == table.overflows
    assert value("table_bytes") == table.memory_bytes
    assert value("compiled") == native.COMPILED
