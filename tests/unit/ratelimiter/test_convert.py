"""Messages to values and back."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from ratelimiter.convert import from_check_request, to_duration
from ratelimiter.requests import Descriptor, LimitRequest
from tests.support.limiter import Limiter, check, descriptor
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.errors import InvalidFields
from waypost.model import LimitEntry
from waypost.rpc.context import CallContext

RULES = """
domain: test
descriptors:
  - key: route
    value: create
    descriptors:
      - {key: address, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: zero, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 0}}
"""

INSIDE = CallContext("/waypost.api.v1.RateLimitService/Check", [], "unix:", None)


async def test_a_check_and_its_refusal() -> None:
    limiter = Limiter(RULES).service
    asked = check("test", descriptor(route="create", address="192.0.2.7"), descriptor(free=""), descriptor(none=""))
    answer = await limiter.Check(asked, INSIDE)
    assert answer.allowed
    assert not answer.HasField("retry_after")
    limited, free, none = answer.statuses
    assert (limited.allowed, limited.rule, limited.limit, limited.remaining) == (
        True,
        "test.route_create.address",
        2,
        1,
    )
    assert (limited.window.seconds, limited.reset_after.nanos) == (1, 749_999_000)
    assert (free.allowed, free.rule, free.remaining) == (True, "test.free", 2**32 - 1)
    assert not free.HasField("window")
    assert not free.HasField("reset_after")
    assert none == pb.DescriptorStatus(allowed=True)

    asked.hits_addend = 2
    answer = await limiter.Check(asked, INSIDE)
    assert not answer.allowed
    assert [status.allowed for status in answer.statuses] == [False, True, True]
    assert answer.statuses[0].over_limit
    assert answer.retry_after == answer.statuses[0].reset_after
    assert (answer.retry_after.seconds, answer.retry_after.nanos) == (0, 749_999_000)


async def test_no_retry_after_when_no_wait_helps() -> None:
    answer = await Limiter(RULES).service.Check(check("test", descriptor(zero="")), INSIDE)
    assert not answer.allowed
    assert not answer.HasField("retry_after")


async def test_a_shadow_rule_says_that_it_would_refuse() -> None:
    answer = await Limiter(RULES).service.Check(check("test", descriptor(shadow="")), INSIDE)
    assert (answer.allowed, answer.statuses[0].allowed, answer.statuses[0].over_limit) == (True, True, True)


async def test_an_answer_without_the_store_says_so() -> None:
    limiter = Limiter(RULES, strict=True)
    asked = check("test", descriptor(route="create", address="a"), descriptor(none=""))
    answer = await limiter.service.Check(asked, INSIDE)
    assert (answer.degraded, [status.degraded for status in answer.statuses]) == (False, [False, False])
    limiter.store.fails = True
    answer = await limiter.service.Check(asked, INSIDE)
    assert (answer.allowed, answer.degraded) == (True, True)
    assert [status.degraded for status in answer.statuses] == [True, False]


async def test_bad_fields_are_raised() -> None:
    with pytest.raises(InvalidFields, match="rate limit descriptor list must not be empty"):
        await Limiter(RULES).service.Check(pb.CheckRequest(domain="test"), INSIDE)


def test_hits_that_are_absent() -> None:
    entry = (LimitEntry("a", "b"),)
    wanted = {None: None, 0: 0, -3: -3, 7: 7}
    for hits, read in wanted.items():
        request = from_check_request(check("d", descriptor(hits, a="b")), "owner")
        assert request == LimitRequest("d", (Descriptor(entry, read),), 1, "owner")
    assert from_check_request(check("d", descriptor(a="b"), hits=5)).hits == 5


def test_spans() -> None:
    assert to_duration(0) == Duration()
    assert to_duration(1_500_001) == Duration(seconds=1, nanos=500_001_000)


def test_a_span_that_no_message_can_tell_is_the_longest() -> None:
    # A bucket of 2^32 - 1 tokens, of which one comes back in a year.
    span = to_duration(2**63 - 1)
    assert span == Duration(seconds=315_576_000_000)
    assert span.ToJsonString() == "315576000000s"
