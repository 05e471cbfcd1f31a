"""What becomes known of decisions that no interpreter saw: metrics, offenders, log lines."""

from __future__ import annotations

import pytest
import structlog.testing

from ratelimiter.rules import Rules
from tests.support.compiled import MOST_EVENTS, Compiled, check_request, envoy_request

RULES = """
domain: test
descriptors:
  - {key: one, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
"""
ENVOYS = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
DROPPED = "hot_port_events_dropped_total"


def test_decisions_are_counted_by_rule_and_by_what_they_were() -> None:
    compiled = Compiled(RULES)
    request = check_request({"one": "x"}, {"shadow": "x"}, {"free": "x"}, {"none": "x"})
    for _ in range(3):
        compiled.ask(False, request)
    assert compiled.told.decisions() == {
        ("test.one", "allowed", "local"): 1,
        ("test.one", "refused", "local"): 2,
        ("test.shadow", "shadow_refused", "local"): 3,
        ("test.free", "allowed", "local"): 3,
        ("none", "allowed", "local"): 3,
    }
    # Looked at twice, they are the same.
    assert sum(compiled.told.decisions().values()) == 12


def test_nothing_is_lost_when_rules_are_replaced() -> None:
    compiled = Compiled(RULES)
    compiled.ask(False, check_request({"free": "x"}))
    compiled.checks.publish(Rules.parse({"a.yaml": RULES.replace("free", "else")}))
    compiled.ask(False, check_request({"free": "x"}, {"else": "x"}))
    compiled.checks.look()
    assert compiled.told.decisions() == {
        ("test.free", "allowed", "local"): 1,
        ("test.else", "allowed", "local"): 1,
        ("none", "allowed", "local"): 1,
    }


def test_places_are_as_long_as_labels_may_be() -> None:
    key = "k" * 255
    nested = (
        f"domain: test\ndescriptors: [{{key: {key}, descriptors: [{{key: {key}, rate_limit: {{unlimited: true}}}}]}}]"
    )
    compiled = Compiled(nested)
    request = check_request({key: "x"})
    request.descriptors[0].entries.add(key=key, value="y")
    compiled.ask(False, request)
    ((rule, _, _),) = compiled.told.decisions()
    assert rule == f"test.{key}.{key}"[:300]


def test_offenders_are_named_by_the_rules_that_refused_them() -> None:
    compiled = Compiled(RULES)
    for _ in range(3):
        compiled.ask(True, envoy_request({"one": "x"}, {"free": "y"}))
    # By then others are in force.
    compiled.checks.publish(Rules.parse({"a.yaml": "domain: other\ndescriptors: []"}))
    compiled.checks.look()
    (offender,) = compiled.told.offenders.top()
    assert (offender.name, offender.count) == ("test.one: one=x", 2)


def test_a_full_buffer_drops_and_what_it_dropped_counts_for_what_it_kept() -> None:
    compiled = Compiled(RULES, log_every=1_000_000)
    total = MOST_EVENTS + 500
    # The first is logged, and allowed.
    for _ in range(1 + total):
        compiled.answer(False, check_request({"one": "x"}))
    assert compiled.told.value(DROPPED) == 0
    compiled.checks.look()
    assert compiled.told.value(DROPPED) == 1 + total - MOST_EVENTS
    (offender,) = compiled.told.offenders.top()
    kept = MOST_EVENTS - 1
    assert total - kept < offender.count <= total
    # What cannot be shared out evenly counts for the next.
    compiled.answer(False, check_request({"one": "x"}))
    compiled.checks.look()
    assert compiled.told.offenders.top()[0].count == total + 1
    assert compiled.told.value(DROPPED) == 1 + total - MOST_EVENTS


def test_refusals_dropped_beside_lines_of_the_log_wait_for_one_to_count_for() -> None:
    compiled = Compiled(RULES, log_every=1)
    compiled.ask(False, check_request({"one": "x"}))
    for _ in range(MOST_EVENTS):
        compiled.ask(False, check_request({"free": "x"}))
    compiled.ask(False, check_request({"one": "x"}))
    compiled.checks.look()
    assert compiled.told.offenders.top() == []
    compiled.ask(False, check_request({"one": "y"}))
    compiled.ask(False, check_request({"one": "y"}))
    compiled.checks.look()
    (offender,) = compiled.told.offenders.top()
    assert (offender.name, offender.count) == ("test.one: one=y", 2)


@pytest.mark.parametrize(("every", "lines"), [(1, 10), (4, 3), (1000, 1)])
def test_one_call_in_so_many_is_logged_the_first_at_once(every: int, lines: int) -> None:
    compiled = Compiled(RULES, log_every=every)
    with structlog.testing.capture_logs() as logged:
        compiled = Compiled(RULES, log_every=every)
        for number in range(10):
            compiled.answer(True, envoy_request({"one": "x"}), (("x-request-id", f"call-{number}"),))
        compiled.checks.look()
    assert [line["correlation_id"] for line in logged] == [f"call-{number}" for number in range(0, 10, every)]
    assert len(logged) == lines


def test_a_line_of_the_log_is_the_chains() -> None:
    request = envoy_request({"one": "x"})
    with structlog.testing.capture_logs() as logged:
        compiled = Compiled(RULES)
        answered = compiled.answer(True, request, (("x-request-id", "call"),))
        compiled.checks.look()
    assert answered is not None
    assert logged == [
        {
            "event": "rpc",
            "log_level": "info",
            "rpc": ENVOYS,
            "code": "OK",
            "duration_ms": 0.0,
            "request_bytes": len(request.SerializeToString()),
            "response_bytes": len(answered[0]),
            "peer": "unix:",
            "principal": "mesh",
            "correlation_id": "call",
        }
    ]
