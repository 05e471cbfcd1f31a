"""Messages to values and back, through the servicer."""

from __future__ import annotations

import pytest

from native.table import Table
from ratelimiter.handlers import Checker
from ratelimiter.rules import Rules
from ratelimiter.service import RateLimitService
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.errors import InvalidFields
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
"""


INSIDE = CallContext("/waypost.api.v1.RateLimitService/Check", [], "unix:", None)


def service() -> RateLimitService:
    checker = Checker(Rules.parse({"limits/test.yaml": RULES}), Table(), lambda: 1_700_000_000_250_001)
    return RateLimitService(checker)


def request(*descriptors: dict[str, str], hits_addend: int = 0) -> pb.CheckRequest:
    return pb.CheckRequest(
        domain="test",
        descriptors=[
            pb.RateLimitDescriptor(entries=[pb.RateLimitEntry(key=k, value=v) for k, v in descriptor.items()])
            for descriptor in descriptors
        ],
        hits_addend=hits_addend,
    )


async def test_a_check_and_its_refusal() -> None:
    limiter = service()
    asked = request({"route": "create", "address": "192.0.2.7"}, {"free": ""}, {"none": ""})
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
    assert answer.retry_after == answer.statuses[0].reset_after
    assert (answer.retry_after.seconds, answer.retry_after.nanos) == (0, 749_999_000)


async def test_no_retry_after_when_no_wait_helps() -> None:
    answer = await service().Check(request({"zero": ""}), INSIDE)
    assert not answer.allowed
    assert not answer.HasField("retry_after")


async def test_bad_fields_are_raised() -> None:
    with pytest.raises(InvalidFields, match="rate limit descriptor list must not be empty"):
        await service().Check(pb.CheckRequest(domain="test"), INSIDE)
