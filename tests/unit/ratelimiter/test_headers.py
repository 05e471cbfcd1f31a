"""Headers for clients: whose numbers they show, in what form, and that they are bounded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ratelimiter.headers import response_headers
from ratelimiter.requests import Descriptor, LimitRequest
from ratelimiter.results import CheckResult
from tests.support.limiter import Limiter
from waypost.model import LimitEntry

RULES = """
domain: test
descriptors:
  - {key: two, rate_limit: {unit: second, requests_per_unit: 2}}
  - {key: day, rate_limit: {unit: day, requests_per_unit: 2}}
  - {key: hundred, rate_limit: {unit: minute, requests_per_unit: 100}}
  - {key: zero, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: quota_a, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: quota_b, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: named, rate_limit: {unit: second, requests_per_unit: 2, name: 'a "b" \\ c%d ö'}}
"""

# RFC 9651: a list of strings with integer parameters.
ITEM = r'"[\x20-\x21\x23-\x5b\x5d-\x7e]*"(;[a-z]+=\d+)*'
LIST = re.compile(rf"{ITEM}(, {ITEM})*")


class World:
    """A limiter, and the headers of what it answers."""

    def __init__(self, rules: str = RULES) -> None:
        self.limiter = Limiter(rules)

    async def result(self, *keys: str, hits: int = 1) -> CheckResult:
        descriptors = tuple(Descriptor((LimitEntry(key, "x"),)) for key in keys)
        return await self.limiter.checker.check(LimitRequest("test", descriptors, hits))

    async def headers(self, *keys: str, hits: int = 1, **options: Any) -> dict[str, str]:
        return dict(response_headers(await self.result(*keys, hits=hits), **options))


def limit_of(headers: dict[str, str]) -> int:
    return int(headers["X-RateLimit-Limit"].partition(",")[0])


async def test_the_tightest_is_shown() -> None:
    world = World()
    headers = await world.headers("hundred", "two")
    assert (limit_of(headers), headers["X-RateLimit-Remaining"]) == (2, "1")
    assert headers["X-RateLimit-Limit"] == '2, 100;w=60;name="test.hundred", 2;w=1;name="test.two"'


async def test_of_refusals_the_longest_is_shown_and_waited_for() -> None:
    world = World()
    await world.result("two", "day", hits=2)
    headers = await world.headers("two", "day", "hundred")
    assert (limit_of(headers), headers["Retry-After"]) == (2, headers["X-RateLimit-Reset"])
    assert int(headers["Retry-After"]) > 60


async def test_no_wait_is_told_where_none_helps() -> None:
    assert "Retry-After" not in await World().headers("zero")


async def test_of_quotas_the_one_with_the_most_left_is_shown() -> None:
    world = World()
    await world.result("quota_a")
    headers = await world.headers("quota_a", "quota_b")
    assert (limit_of(headers), headers["X-RateLimit-Remaining"]) == (5, "4")


async def test_times_are_rounded_up() -> None:
    world = World()
    world.limiter.now_us = 1_700_000_000_000_001
    assert (await world.headers("two"))["X-RateLimit-Reset"] == "1"
    world.limiter.now_us = 1_700_000_000_999_999
    await world.result("two", hits=1)
    headers = await world.headers("two")
    assert (headers["X-RateLimit-Reset"], headers["Retry-After"]) == ("1", "1")


async def test_nothing_is_said_of_limits_that_only_pretend() -> None:
    world = World()
    assert await world.headers("two", hits=2, shadow_mode=True) == {}
    assert await world.headers("two", hits=2, shadow_mode=True) == {"Retry-After": "1"}


@pytest.mark.parametrize("key", ["named", "two"])
async def test_fields_are_lists_of_quoted_names(key: str) -> None:
    headers = await World().headers(key, "hundred")
    for name in ("RateLimit", "RateLimit-Policy"):
        assert LIST.fullmatch(headers[name]), headers[name]
    for value in headers.values():
        assert value.isascii()
        assert value.isprintable()


async def test_what_a_header_cannot_carry_is_written_as_in_a_url() -> None:
    headers = await World().headers("named")
    assert headers["RateLimit"].startswith('"a %22b%22 %5C c%25d %C3%B6";r=1')


async def test_headers_are_bounded() -> None:
    keys = "".join(
        f"  - {{key: {'k' * 250}{n}, rate_limit: {{unit: day, requests_per_unit: 9}}}}\n" for n in range(100)
    )
    world = World(f"domain: test\ndescriptors:\n{keys}")
    headers = await world.headers(*(f"{'k' * 250}{n}" for n in range(100)))
    assert sum(len(name) + len(value) for name, value in headers.items()) < 5000


async def test_a_policy_that_is_met_twice_is_told_once() -> None:
    headers = await World().headers("two", "two")
    assert headers["RateLimit-Policy"] == '"test.two";q=2;w=1'
