"""A caller who does not wait for Redis any longer has spent what is counted here: Envoy lets such requests pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from native import Table
from ratelimiter.handlers import Checker
from ratelimiter.own_limiter import OwnLimiter
from ratelimiter.requests import Descriptor, LimitRequest
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import Rules
from ratelimiter.service import RateLimitService
from tests.support.limiter import INSIDE, check, descriptor
from tests.support.redis import RedisServer, redis_server
from tests.support.redis_counters import healthy, serving
from tests.support.service import running
from tests.support.waiting import until
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.clock import SteadyClock
from waypost.model import LimitEntry

KEYS = ("window", "sliding", "bucket")
RULES = """
domain: shop
descriptors:
  - {key: together, rate_limit: {unit: year, requests_per_unit: 9}}
  - {key: window, rate_limit: {unit: year, requests_per_unit: 5, consistency: local}}
  - {key: sliding, rate_limit: {unit: year, requests_per_unit: 5, algorithm: sliding_window, consistency: local}}
  - {key: bucket, rate_limit: {unit: year, requests_per_unit: 5, algorithm: token_bucket, consistency: local}}
"""

LONG_SECONDS = 60.0
GiveUp = Callable[[Any], Any]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


async def cancel(call: grpc.aio.UnaryUnaryCall[pb.CheckRequest, pb.CheckResponse]) -> None:
    """Hangs up."""
    call.cancel()


async def wait_for_the_deadline(call: grpc.aio.UnaryUnaryCall[pb.CheckRequest, pb.CheckResponse]) -> None:
    """Waits as long as was said at first."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("give_up", "seconds"), [(cancel, LONG_SECONDS), (wait_for_the_deadline, 5.0)])
async def test_who_gives_up_while_redis_is_asked_stays_charged_here(
    redis: RedisServer, give_up: GiveUp, seconds: float
) -> None:
    async with serving(redis.unix_url, LONG_SECONDS) as counters:
        book = RuleBook(Rules.parse({"shop.yaml": RULES}), datetime.now(UTC))
        checker = Checker(book, Table(), SteadyClock(), counters)

        async def left() -> set[int]:
            request = LimitRequest("shop", tuple(Descriptor((LimitEntry(key, "a"),)) for key in KEYS))
            return {decision.remaining for decision in (await checker.look(request)).decisions}

        async def is_left(hits: int) -> bool:
            return await left() == {hits}

        service = RateLimitService(checker, book, OwnLimiter(checker))
        async with running(service, identity=INSIDE) as served:
            descriptors = [descriptor(None, **{key: "a"}) for key in ("together", *KEYS)]
            request = check("shop", *descriptors, hits=2)
            assert (await served.limits.Check(request)).allowed
            assert await left() == {3}
            redis.stop()
            try:
                call = served.limits.Check(request, timeout=seconds)
                # Charged while the store is asked, so that nobody else is admitted on the same.
                await until(lambda: is_left(1))
                await give_up(call)
            finally:
                redis.cont()
            await until(lambda: healthy(counters))
            assert not (await served.limits.Check(request)).allowed
            assert (await served.limits.Check(check("shop", *descriptors, hits=1))).allowed
            assert await left() == {0}
