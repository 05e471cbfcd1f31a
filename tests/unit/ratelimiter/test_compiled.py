"""The compiled handlers decide as the servicers do, and leave to them what they do not decide."""

from __future__ import annotations

import json
from random import Random
from typing import Any
from uuid import UUID

import pytest

from native import Table
from ratelimiter.convert import from_check_request
from tests.support.compiled import Compiled, Servicers, check_request, envoy_request
from waypost.api.v1 import rate_limit_service_pb2 as pb

RULES = """
domain: test
descriptors:
  - {key: two, rate_limit: {name: pair, unit: second, requests_per_unit: 2, consistency: local}}
  - {key: ten, rate_limit: {unit: minute, requests_per_unit: 10, consistency: local}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: strict, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: both, limits: [{unit: second, requests_per_unit: 2, consistency: local}, {unit: hour, requests_per_unit: 5}]}
  - {key: detailed, detailed_metric: true, rate_limit: {unit: second, requests_per_unit: 2, consistency: local}}
  - {key: metric, value_to_metric: true, rate_limit: {unit: second, requests_per_unit: 2, consistency: local}}
  - key: instead
    rate_limit: {name: own, unit: second, requests_per_unit: 2, consistency: local, replaces: [{name: pair}]}
"""
TWO, TEN = {"two": "x"}, {"ten": "x"}
EDGE = (("x-waypost-edge", "1"),)
MINUTE_US = 60_000_000


class Odds:
    """Random rules and requests; each seed's are always the same."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.reference = seed % 4 == 3

    def rules(self) -> str:
        keys = ["a", "b", "c", "p*q", "d*", "ключ"]
        descriptors = [self._descriptor(key, depth) for depth, key in enumerate(keys)]
        values = [self._descriptor("a", 9) | {"value": value} for value in ("x", "y*", "*z*", "é")]
        for one in values[1:3]:
            one["share_threshold"] = self.random.random() < 0.5
        file = {"domain": "test", "descriptors": [*descriptors, *values]}
        return json.dumps(file | ({"compat": "envoyproxy"} if self.reference else {}), ensure_ascii=False)

    def _descriptor(self, key: str, depth: int) -> dict[str, Any]:
        draw = self.random
        descriptor: dict[str, Any] = {"key": key}
        if draw.random() < 0.1:
            descriptor["rate_limit"] = {"unlimited": True}
        elif self.reference or draw.random() < 0.7:
            descriptor["rate_limit"] = self._limit(draw.choice(("second", "minute", "week")))
        else:
            descriptor["limits"] = [self._limit(unit) for unit in draw.sample(("second", "minute", "day", "year"), 3)]
        for flag in ("shadow_mode", "quota_mode"):
            if draw.random() < 0.25:
                descriptor[flag] = True
        if depth < 3:
            descriptor["descriptors"] = [self._descriptor(inner, depth + 1) for inner in ("n", "m*")]
        return descriptor

    def _limit(self, unit: str) -> dict[str, Any]:
        draw = self.random
        limit: dict[str, Any] = {"unit": unit, "requests_per_unit": draw.choice((0, 1, 2, 5, 30, 2**32 - 1))}
        if draw.random() < 0.3:
            limit["multiplier"] = draw.choice((2, 7))
        if not self.reference:
            limit["algorithm"] = draw.choice(("fixed_window", "sliding_window", "token_bucket"))
            limit["count_rejected"] = draw.random() < 0.2
            if limit["algorithm"] == "token_bucket" and draw.random() < 0.5:
                limit["burst"] = draw.choice((1, 8))
        return limit

    def request(self, envoy: bool) -> bytes:
        draw = self.random
        descriptors = [self._asked() for _ in range(draw.choice((1, 1, 2, 3, 6)))]
        make = envoy_request if envoy else check_request
        hits = draw.choice((0, 0, 1, 1, 2, 5, 2**32 - 1))
        domain = "test" if draw.random() < 0.95 else "another"
        return bytes(make(*descriptors, hits=hits, domain=domain).SerializeToString())

    def _asked(self) -> Any:
        draw = self.random
        first = draw.choice(("a", "a", "b", "c", "pq", "p1q", "d", "d2", "ключ", "none"))
        entries = {first: draw.choice(("", "x", "y", "yy", "1z2", "é", "w"))}
        if draw.random() < 0.3:
            entries[draw.choice(("n", "m", "m1", "k"))] = draw.choice(("", "x", "é"))
        own = draw.random() < 0.3
        return (entries, draw.choice((0, 0, 1, 3, 2**31 - 1))) if own else entries


@pytest.mark.parametrize("shadow_mode", [False, True])
@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("seed", range(24))
async def test_answers_metrics_and_offenders_are_the_servicers(seed: int, headers: bool, shadow_mode: bool) -> None:
    odds = Odds(seed)
    text = odds.rules()
    compiled = Compiled(text, headers=headers, shadow_mode=shadow_mode)
    servicers = Servicers(text, headers=headers, shadow_mode=shadow_mode)
    for number in range(150):
        envoy = number % 2 == 0
        message = odds.request(envoy)
        answered = compiled.answer(envoy, message)
        assert answered is not None, message
        assert answered[0] == await servicers.ask(envoy, message), message
        # Offenders are counted at the time when it looks.
        compiled.checks.look()
        later_us = odds.random.choice((0, 0, 1, 300_000, 1_000_000, MINUTE_US))
        compiled.limiter.now_us += later_us
        servicers.limiter.now_us += later_us
    assert compiled.told.decisions() == servicers.told.decisions()
    assert compiled.told.offenders.page() == servicers.told.offenders.page()
    assert shadow_mode or servicers.told.offenders.top()


@pytest.mark.parametrize("envoy", [False, True])
def test_who_was_refused_by_a_message_that_others_cannot_read_is_not_known(envoy: bool) -> None:
    compiled = Compiled(RULES)
    make = envoy_request if envoy else check_request
    refused = make(TWO, hits=3)
    assert compiled.answer(envoy, refused) is not None
    serials = compiled.checks.answers.sweep()
    assert len(serials) == 1
    # Cut off, no UTF-8, a group that does not end.
    readable = refused.SerializeToString()
    for message in (readable[:-1], readable.replace(b"two", b"\xff\xffo"), readable + b"\x7b"):
        compiled.checks.count_offenders(envoy, message, min(serials), 1)
    assert compiled.told.value("hot_port_events_dropped_total") == 3
    assert not compiled.told.offenders.top()
    # Looking goes on.
    compiled.checks.look()
    assert [one.count for one in compiled.told.offenders.top()] == [1]
    compiled.checks.count_offenders(envoy, readable, min(serials), 1)
    assert [one.count for one in compiled.told.offenders.top()] == [2]


async def test_both_ports_have_the_same_counters() -> None:
    table = Table()
    compiled, servicers = Compiled(RULES, table=table), Servicers(RULES, table=table)
    request = check_request({"ten": "x"}, hits=4)
    assert compiled.ask(False, request).statuses[0].remaining == 6
    await servicers.ask(False, request.SerializeToString())
    assert compiled.ask(False, request).allowed is False
    assert compiled.ask(True, envoy_request({"ten": "x"}, hits=2)).statuses[0].limit_remaining == 0
    # Which is still the same when an operator forgets it.
    assert await servicers.checker.reset(from_check_request(check_request(TEN))) == 1
    assert compiled.ask(False, request).statuses[0].remaining == 6


def test_the_time_is_that_of_the_steady_clock() -> None:
    compiled = Compiled(RULES)
    while True:
        before = compiled.clock()
        answered = compiled.checks.answers.answer(False, check_request(TEN).SerializeToString())
        after = compiled.clock()
        if before // MINUTE_US == after // MINUTE_US:
            break
    assert answered is not None
    (status,) = pb.CheckResponse.FromString(answered[0]).statuses
    window_us = (after // MINUTE_US + 1) * MINUTE_US
    assert window_us - after <= status.reset_after.ToMicroseconds() <= window_us - before


@pytest.mark.parametrize(
    "entries",
    [{"strict": "x"}, {"both": "x"}, {"detailed": "x"}, {"metric": "x"}, {"instead": "x"}],
    ids=lambda entries: next(iter(entries)),
)
@pytest.mark.parametrize("envoy", [False, True])
def test_rules_that_are_left_to_the_servicers(envoy: bool, entries: dict[str, str]) -> None:
    compiled = Compiled(RULES, shared=True)
    make = envoy_request if envoy else check_request
    assert compiled.answer(envoy, make(entries)) is None
    # Beside others, too, and nothing of it is charged or counted.
    assert compiled.answer(envoy, make(TWO, entries)) is None
    compiled.checks.look()
    assert compiled.told.decisions() == {}
    assert compiled.answer(envoy, make(TWO)) is not None
    assert compiled.told.decisions() == {("test.two", "allowed", "local"): 1}


def test_without_a_store_strict_rules_are_decided() -> None:
    compiled = Compiled(RULES)
    assert compiled.ask(False, check_request({"strict": "x"}, {"both": "x"})).allowed
    assert compiled.told.decisions() == {("test.strict", "allowed", "local"): 1, ("test.both", "allowed", "local"): 1}


@pytest.mark.parametrize(
    ("metadata", "timeout_us"),
    [
        (EDGE, -1),
        ((("x-api-key", "k"),), -1),
        ((("authorization", "Bearer t"),), -1),
        ((("x-workspace", ""),), -1),
        ((), 0),
    ],
)
@pytest.mark.parametrize("envoy", [False, True])
def test_calls_that_are_left_to_the_servicers(
    envoy: bool, metadata: tuple[tuple[str, str], ...], timeout_us: int
) -> None:
    compiled = Compiled(RULES)
    message = (envoy_request if envoy else check_request)(TWO)
    assert compiled.answer(envoy, message, metadata, timeout_us) is None
    assert compiled.answer(envoy, message, (("x-other", "k"),), 1) is not None


@pytest.mark.parametrize("envoy", [False, True])
def test_requests_that_are_left_to_the_servicers(envoy: bool) -> None:
    compiled = Compiled(RULES)
    make = envoy_request if envoy else check_request
    assert compiled.answer(envoy, b"\xff") is None
    assert compiled.answer(envoy, b"") is None
    assert compiled.answer(envoy, make(TWO, domain="")) is None
    assert compiled.answer(envoy, make(*[TWO] * 17)) is None
    assert compiled.answer(envoy, make({"two": "x" * 2048})) is None
    assert compiled.answer(envoy, make({"two": "x" * 1900})) is not None
    limits = ", ".join(f"{{unit: second, multiplier: {n}, requests_per_unit: 9}}" for n in range(1, 17))
    many = Compiled(f"domain: test\ndescriptors: [{{key: k, limits: [{limits}]}}]")
    assert many.answer(envoy, make({"k": "1"}, {"k": "2"})) is not None
    assert many.answer(envoy, make({"k": "1"}, {"k": "2"}, {"k": "3"})) is None


def test_a_request_with_numbers_of_its_own_goes_up() -> None:
    request = envoy_request(TWO)
    request.descriptors[0].limit.requests_per_unit = 5
    request.descriptors[0].limit.unit = 1
    assert Compiled(RULES).answer(True, request) is None


def test_once_it_is_leaving_all_goes_up() -> None:
    compiled = Compiled(RULES)
    assert compiled.answer(True, envoy_request(TWO)) is not None
    compiled.checks.pass_up()
    assert compiled.answer(True, envoy_request(TWO)) is None
    assert compiled.answer(False, check_request(TWO)) is None


@pytest.mark.parametrize(
    ("flags", "traced", "up"),
    [("01", True, True), ("00", True, False), ("02", True, False), ("zz", True, True), ("01", False, False)],
)
def test_calls_of_recorded_traces_go_up(flags: str, traced: bool, up: bool) -> None:
    compiled = Compiled(RULES, traced=traced)
    metadata = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-{flags}"),)
    assert (compiled.answer(True, envoy_request(TWO), metadata) is None) is up


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ((("x-correlation-id", "Own-1._z"), ("x-request-id", "other")), "Own-1._z"),
        ((("x-request-id", "r" * 128),), "r" * 128),
        ((("x-correlation-id", "not fit"), ("x-request-id", "fit")), "fit"),
        ((("x-correlation-id", "first"), ("x-correlation-id", "second")), "first"),
        ((("x-correlation-id", ""), ("x-correlation-id", "second")), None),
        ((("x-correlation-id", "r" * 129),), None),
        ((("x-correlation-id", "é"),), None),
        ((("x-correlation-id", "a@b"),), None),
        ((("x-correlation-id", "[a]"),), None),
        ((), None),
    ],
)
def test_correlation_ids(metadata: tuple[tuple[str, str], ...], expected: str | None) -> None:
    compiled = Compiled(RULES)
    made = set()
    for _ in range(3):
        answered = compiled.answer(True, envoy_request({"free": "x"}), metadata)
        assert answered is not None
        ((name, value),) = answered[1]
        assert name == "x-correlation-id"
        made.add(value)
    if expected is not None:
        assert made == {expected}
    else:
        assert len(made) == 3
        assert all(str(UUID(text)) == text and UUID(text).version == 4 for text in made)
        assert all(UUID(text).variant == "specified in RFC 4122" for text in made)
