"""A look says what a check would be answered, by whichever accounting."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.requests import Descriptor, LimitRequest
from tests.support.limiter import Limiter, descriptor
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.model import LimitEntry

RULES = """
domain: test
descriptors:
  - {key: k, rate_limit: {unit: minute, requests_per_unit: 5}}
"""
COMPAT = f"compat: envoyproxy\n{RULES}"


def asked(hits: int) -> LimitRequest:
    return LimitRequest("test", (Descriptor((LimitEntry("k", "a"),), hits),))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("rules", [RULES, COMPAT])
@given(costs=st.lists(st.sampled_from([-9, -6, -2, -1, 0, 0, 1, 2, 5, 6, 9]), max_size=12))
async def test_a_look_admits_what_a_check_admits(rules: str, costs: Sequence[int], strict: bool) -> None:
    limiter = Limiter(rules, strict=strict)
    left = 5
    for hits in costs:
        outlook = await limiter.checker.look(asked(hits))
        checked = await limiter.checker.check(asked(hits))
        (seen,), (status,) = outlook.decisions, checked.statuses
        assert (outlook.allowed, seen.allowed) == (checked.allowed, not status.over_limit)
        assert seen.remaining == left
        assert (seen.retry_after_us, seen.reset_after_us) == (status.retry_after_us, status.reset_after_us)
        left = status.remaining


async def test_explaining_a_counter_that_is_exactly_full() -> None:
    for rules, admitted in ((RULES, False), (COMPAT, True)):
        limiter = Limiter(rules)
        async with limiter.serving() as serving:
            await limiter.checker.check(asked(5))
            look = pb.ExplainRequest(domain="test", descriptors=[descriptor(0, k="a")])
            answer = await serving.stub.Explain(look)
            assert (answer.allowed, answer.descriptors[0].limits[0].remaining) == (admitted, 0)
            # One more is refused, and by the reference counted all the same: now it is more than full.
            assert not (await limiter.checker.check(asked(1))).allowed
            assert not (await serving.stub.Explain(look)).allowed
