"""Rate limiters that share a Redis: what they count together, and what they answer when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy.service.ratelimit.v3 import rls_pb2

from tests.integration.ratelimiter.process import FREE, Limiter, limiter_running
from tests.support.process import run
from tests.support.redis import RedisServer, redis_server
from tests.support.waiting import until
from waypost.api.v1 import rate_limit_service_pb2 as pb

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT

RULES = """
domain: shop
descriptors:
  - {key: together, rate_limit: {unit: year, requests_per_unit: 4}}
  - {key: alone, rate_limit: {unit: year, requests_per_unit: 4, consistency: local}}
  - {key: deny, rate_limit: {unit: year, requests_per_unit: 4, on_store_failure: deny}}
"""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_text(RULES)
    return tmp_path


def degraded(answer: Any) -> bool:
    return any(header.key == "x-waypost-degraded" for header in answer.response_headers_to_add)


def left(answer: Any) -> list[int]:
    return [status.limit_remaining for status in answer.statuses]


async def asked_until(limiter: Limiter, *, is_degraded: bool) -> None:
    """Waits until a strict limit is answered without the store, or with it again."""

    async def look() -> bool:
        return degraded(limiter.ask("shop", {"deny": "nobody"})) == is_degraded

    await until(look)


async def test_replicas_count_strict_limits_together(redis: RedisServer, rules: Path) -> None:
    with (
        limiter_running(rules, WAYPOST_REDIS_URL=redis.url, WAYPOST_RATELIMITER_STORE_TIMEOUT_MS="500") as one,
        limiter_running(rules, WAYPOST_REDIS_URL=redis.url, WAYPOST_RATELIMITER_STORE_TIMEOUT_MS="500") as other,
    ):
        for limiter in (one, other):
            await asked_until(limiter, is_degraded=False)
        assert left(one.ask("shop", {"together": "x"}, {"alone": "x"}, hits=2)) == [2, 2]
        assert left(other.ask("shop", {"together": "x"}, {"alone": "x"})) == [1, 3]
        refused = other.ask("shop", {"together": "x"}, {"alone": "x"}, hits=2)
        assert (refused.overall_code, left(refused)) == (OVER_LIMIT, [1, 3])
        entries = [pb.RateLimitEntry(key="together", value="x")]
        one_request = pb.CheckRequest(domain="shop", descriptors=[pb.RateLimitDescriptor(entries=entries)])
        batch = one.api.BatchCheck(pb.BatchCheckRequest(requests=[one_request] * 3), timeout=10)
        assert [answer.allowed for answer in batch.responses] == [True, False, False]
        assert (one.sample("ratelimit_store_seconds_count", result="done") or 0) >= 4
        assert one.sample("dependency_up", dependency="redis") == 1
        assert not any(line["event"] == "strict limits are local" for line in one.process.log)
        redis.kill()
        await asked_until(one, is_degraded=True)
        # Of what is denied without the store, and of what each counts by itself.
        denied = one.ask("shop", {"deny": "x"})
        assert (denied.overall_code, degraded(denied)) == (OVER_LIMIT, True)
        answer = one.ask("shop", {"together": "x"}, {"alone": "x"})
        assert (answer.overall_code, left(answer), degraded(answer)) == (OK, [3, 1], True)
        assert not degraded(one.ask("shop", {"alone": "x"}))
        assert (one.sample("ratelimit_degraded_answers_total") or 0) >= 2
        await until(lambda: one.http.get("/ready").json()["status"] == "degraded")
        assert one.http.get("/ready").status_code == 200
        redis.start()
        await asked_until(one, is_degraded=False)
        assert left(one.ask("shop", {"together": "x"})) == [3]


async def test_it_starts_without_redis(redis: RedisServer, rules: Path) -> None:
    redis.kill()
    with limiter_running(rules, WAYPOST_REDIS_URL=redis.unix_url) as limiter:
        answer = limiter.ask("shop", {"together": "x"})
        assert (answer.overall_code, degraded(answer)) == (OK, True)
        redis.start()
        await asked_until(limiter, is_degraded=False)


def test_a_bad_address_is_one_line_that_shows_no_password(rules: Path) -> None:
    for url in ("redis://user:hunter2@h:70000000/0", "redis+nothing://user:hunter2@h", "http://user:hunter2@h"):
        done = run("-m", "ratelimiter", **FREE, WAYPOST_LIMITS_DIR=str(rules), WAYPOST_REDIS_URL=url)
        (line,) = done.stderr.splitlines()[-1:]
        assert (done.returncode, line.startswith("ratelimiter: WAYPOST_REDIS_URL ")) == (2, True)
        assert "hunter2" not in done.stderr
