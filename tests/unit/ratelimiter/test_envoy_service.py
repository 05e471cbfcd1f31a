"""Envoy's own question: every field of its protocol, and what the reference answers."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.service.ratelimit.v3 import rls_pb2 as pb
from envoy.type.v3 import ratelimit_unit_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.wrappers_pb2 import UInt64Value

from tests.support.limiter import EDGE, Limiter
from tests.support.service import details_of, reason_of, status_of

OK, OVER_LIMIT = pb.RateLimitResponse.OK, pb.RateLimitResponse.OVER_LIMIT
UNIT = pb.RateLimitResponse.RateLimit.Unit

RULES = """
domain: test
descriptors:
  - {key: two, rate_limit: {name: pair, unit: second, requests_per_unit: 2}, metadata: {owner: a, tags: {x: "1"}}}
  - {key: ten, rate_limit: {unit: minute, requests_per_unit: 10}, metadata: {owner: b, tags: {y: "2"}}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: half, rate_limit: {unit: minute, multiplier: 30, requests_per_unit: 10}}
  - {key: bucket, rate_limit: {unit: hour, requests_per_unit: 10, algorithm: token_bucket, burst: 100}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: quota_a, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 1}}
  - {key: quota_b, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
"""
COMPAT = RULES.replace("domain: test", "domain: reference\ncompat: envoyproxy").split("  - {key: half")[0]


def descriptor(*, hits: int | None = None, negative: bool | None = None, **pairs: str) -> Any:
    """A descriptor as Envoy sends it. `negative`: the field that our stubs do not know."""
    message = ratelimit_pb2.RateLimitDescriptor(
        entries=[ratelimit_pb2.RateLimitDescriptor.Entry(key=key, value=value) for key, value in pairs.items()],
        hits_addend=None if hits is None else UInt64Value(value=hits),
    )
    if negative is not None:
        message.MergeFromString(bytes([4 << 3, negative]))
    return message


def overridden(requests: int, unit: int, **pairs: str) -> Any:
    """A descriptor with numbers of its own."""
    message = descriptor()
    for key, value in pairs.items():
        message.entries.add(key=key, value=value)
    message.limit.requests_per_unit = requests
    message.limit.unit = unit
    return message


def asking(*descriptors: Any, hits: int = 0, domain: str = "test") -> Any:
    return pb.RateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=hits)


def headers_of(answer: Any) -> dict[str, str]:
    headers = [(header.key, header.value) for header in answer.response_headers_to_add]
    assert len(dict(headers)) == len(headers)
    return dict(headers)


async def ask(limiter: Limiter, *descriptors: Any, hits: int = 0, domain: str = "test") -> Any:
    """An answer over a real port."""
    async with limiter.serving() as serving:
        return await serving.envoy.ShouldRateLimit(asking(*descriptors, hits=hits, domain=domain))


async def test_statuses() -> None:
    limiter = Limiter(RULES)
    two, ten, free, none = descriptor(two="x"), descriptor(ten="x"), descriptor(free="x"), descriptor(none="x")
    async with limiter.serving() as serving:
        answer = await serving.envoy.ShouldRateLimit(asking(two, ten, free, none))
        assert answer.overall_code == OK
        first, second, third, fourth = answer.statuses
        assert (first.code, first.limit_remaining) == (OK, 1)
        assert first.current_limit == pb.RateLimitResponse.RateLimit(
            name="pair", requests_per_unit=2, unit=UNIT.Value("SECOND")
        )
        assert (first.duration_until_reset.seconds, first.duration_until_reset.nanos) == (0, 749_999_000)
        assert (second.current_limit.unit, second.current_limit.name) == (UNIT.Value("MINUTE"), "")
        assert third == pb.RateLimitResponse.DescriptorStatus(code=OK, limit_remaining=2**32 - 1)
        assert fourth == pb.RateLimitResponse.DescriptorStatus(code=OK)
        refused = await serving.envoy.ShouldRateLimit(asking(two, ten, hits=2))
        assert refused.overall_code == OVER_LIMIT
        assert [(status.code, status.limit_remaining) for status in refused.statuses] == [(OVER_LIMIT, 1), (OK, 9)]
        # What was refused cost nothing.
        assert (await serving.envoy.ShouldRateLimit(asking(ten))).statuses[0].limit_remaining == 8


async def test_windows_that_are_no_unit_of_envoys_have_none() -> None:
    answer = await ask(Limiter(RULES), descriptor(half="x"), descriptor(bucket="x"))
    half, bucket = answer.statuses
    assert (half.current_limit.unit, half.current_limit.requests_per_unit) == (UNIT.Value("UNKNOWN"), 10)
    assert (bucket.current_limit.unit, bucket.current_limit.requests_per_unit) == (UNIT.Value("HOUR"), 10)
    assert bucket.limit_remaining == 99


async def test_shadow_and_quota_rules() -> None:
    limiter = Limiter(RULES)
    shadow, quotas = descriptor(shadow="x"), [descriptor(quota_a="x"), descriptor(quota_b="x")]
    await ask(limiter, shadow, *quotas)
    answer = await ask(limiter, shadow)
    assert (answer.overall_code, answer.statuses[0].code, answer.statuses[0].limit_remaining) == (OK, OK, 0)
    answer = await ask(limiter, *quotas)
    assert (answer.overall_code, [status.code for status in answer.statuses]) == (OVER_LIMIT, [OVER_LIMIT, OVER_LIMIT])
    limiter.now_us += 1_000_000
    answer = await ask(limiter, *quotas)
    assert (answer.overall_code, [status.code for status in answer.statuses]) == (OK, [OK, OVER_LIMIT])


async def test_in_the_shadow_mode_of_the_process_statuses_say_what_would_refuse() -> None:
    limiter = Limiter(RULES, shadow_mode=True)
    answer = await ask(limiter, descriptor(two="x"), hits=3)
    assert (answer.overall_code, answer.statuses[0].code, headers_of(answer)) == (OK, OVER_LIMIT, {})


async def test_hits() -> None:
    limiter = Limiter(RULES)

    async def left(*descriptors: Any, hits: int = 0) -> list[tuple[int, int]]:
        answer = await ask(limiter, *descriptors, hits=hits)
        return [(status.code, status.limit_remaining) for status in answer.statuses]

    ten = descriptor(ten="x")
    # 0 means 1 in the request, and none at all in a descriptor.
    assert await left(ten) == [(OK, 9)]
    assert await left(ten, hits=2) == [(OK, 7)]
    assert await left(descriptor(ten="x", hits=0), hits=2) == [(OK, 7)]
    assert await left(descriptor(ten="x", hits=3), descriptor(ten="y"), hits=2) == [(OK, 4), (OK, 8)]
    assert await left(descriptor(ten="x", hits=5)) == [(OVER_LIMIT, 4)]
    assert await left(descriptor(ten="x", hits=4)) == [(OK, 0)]
    # Nothing is left: a look is refused.
    assert await left(descriptor(ten="x", hits=0)) == [(OVER_LIMIT, 0)]


async def test_negative_hits() -> None:
    limiter = Limiter(RULES)

    async def left(*descriptors: Any, hits: int = 0) -> list[tuple[int, int]]:
        answer = await ask(limiter, *descriptors, hits=hits)
        return [(status.code, status.limit_remaining) for status in answer.statuses]

    await left(descriptor(ten="x", hits=10), descriptor(two="x", hits=2))
    assert await left(descriptor(ten="x", hits=4, negative=True)) == [(OK, 4)]
    # Without hits of its own it gives back the request's.
    assert await left(descriptor(ten="x", negative=True)) == [(OK, 5)]
    assert await left(descriptor(ten="x", negative=True), hits=3) == [(OK, 8)]
    assert await left(descriptor(ten="x", hits=1, negative=False)) == [(OK, 7)]
    assert await left(descriptor(ten="x", hits=1, negative=True), descriptor(two="x")) == [(OK, 7), (OVER_LIMIT, 0)]
    assert await left(descriptor(ten="x", hits=99, negative=True)) == [(OK, 10)]
    twice = descriptor(ten="x", hits=1, negative=True)
    twice.MergeFromString(bytes([4 << 3, 0]))
    assert await left(twice) == [(OK, 9)]


async def test_overrides_in_the_request() -> None:
    limiter = Limiter(RULES)
    units = ratelimit_unit_pb2.RateLimitUnit
    # Of the rule's own window: the same count.
    await ask(limiter, descriptor(ten="x"), hits=6)
    answer = await ask(limiter, overridden(20, units.Value("MINUTE"), ten="x"))
    assert (answer.statuses[0].limit_remaining, answer.statuses[0].current_limit.requests_per_unit) == (13, 20)
    assert (await ask(limiter, overridden(5, units.Value("MINUTE"), ten="x"))).overall_code == OVER_LIMIT
    # Of another, or of no rule: one of its own.
    for name in units.keys():  # noqa: SIM118 - an enum, not a dict
        if name in ("UNKNOWN", "MINUTE"):
            continue
        for pairs in ({"ten": "x"}, {"none": "x"}):
            answer = await ask(limiter, overridden(3, units.Value(name), **pairs))
            (status,) = answer.statuses
            assert (status.limit_remaining, status.current_limit.unit) == (2, UNIT.Value(name))
    # Newer than the stubs, but the reference reads the number as that of its own enum.
    answer = await ask(limiter, overridden(3, UNIT.Value("WEEK"), ten="x"))
    assert answer.statuses[0].current_limit.unit == UNIT.Value("WEEK")
    assert (await ask(limiter, overridden(0, units.Value("DAY"), shadow="x"))).overall_code == OVER_LIMIT
    assert (await ask(limiter, overridden(0, units.Value("DAY"), two="x"), domain="elsewhere")).overall_code == OK


@pytest.mark.parametrize("unit", [0, 8, 99])
async def test_an_unknown_unit_is_refused(unit: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"descriptors\[1\].limit.unit: must be a unit of time") as raised:
        await ask(Limiter(RULES), descriptor(ten="x"), overridden(3, unit, ten="x"))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (asking(domain=""), "rate limit domain must not be empty"),
        (asking(descriptor(ten="x"), domain=""), "rate limit domain must not be empty"),
        (asking(), "rate limit descriptor list must not be empty"),
    ],
)
async def test_the_sentences_of_the_reference(request_: Any, sentence: str) -> None:
    async with Limiter(RULES).serving() as serving:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.envoy.ShouldRateLimit(request_)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, sentence)
    assert details_of(status_of(raised.value))["BadRequest"].field_violations[0].description == sentence


async def test_bounds() -> None:
    large = [descriptor(free="x" * 4096)] * 63
    async with Limiter(RULES).serving() as serving:
        assert (await serving.envoy.ShouldRateLimit(asking(*large))).overall_code == OK
        for bad, field in (
            (asking(*[descriptor(ten="x")] * 101), "descriptors: "),
            (asking(descriptor(ten="x" * 4097)), r"descriptors\[0\].entries\[0\].value: "),
            (asking(descriptor(ten="x", hits=2**32)), r"descriptors\[0\].hits_addend: "),
            (asking(descriptor(ten="x", hits=2**64 - 1, negative=True)), r"descriptors\[0\].hits_addend: "),
            (asking(descriptor()), r"descriptors\[0\].entries: "),
            (asking(descriptor(ten="x"), domain="d" * 256), "domain: "),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=field) as raised:
                await serving.envoy.ShouldRateLimit(bad)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.envoy.ShouldRateLimit(asking(*large, *large[:2]))
        assert reason_of(raised.value)[0] == "REQUEST_TOO_LARGE"


async def test_the_accounting_of_the_reference() -> None:
    limiter = Limiter(COMPAT)

    async def left(*descriptors: Any, hits: int = 0) -> list[tuple[int, int]]:
        answer = await ask(limiter, *descriptors, hits=hits, domain="reference")
        return [(status.code, status.limit_remaining) for status in answer.statuses]

    two, ten = descriptor(two="x"), descriptor(ten="x")
    assert await left(two, ten, hits=3) == [(OVER_LIMIT, 0), (OK, 7)]
    assert await left(ten) == [(OK, 6)]
    assert await left(descriptor(ten="x", hits=6)) == [(OK, 0)]
    # At exactly full a look is still OK there.
    assert await left(descriptor(ten="x", hits=0)) == [(OK, 0)]
    # Numbers for what has no rule of its own are counted in the same way.
    none = overridden(2, 2, none="x")
    assert [await left(none, hits=hits) for hits in (3, 1)] == [[(OVER_LIMIT, 0)], [(OVER_LIMIT, 0)]]


async def test_headers() -> None:
    limiter = Limiter(RULES)
    answer = await ask(limiter, descriptor(two="x"), descriptor(ten="x"), descriptor(free="x"), descriptor(shadow="x"))
    assert headers_of(answer) == {
        "X-RateLimit-Limit": '2, 2;w=1;name="pair", 10;w=60;name="test.ten"',
        "X-RateLimit-Remaining": "1",
        "X-RateLimit-Reset": "1",
        "RateLimit": '"pair";r=1;t=1, "test.ten";r=9;t=40',
        "RateLimit-Policy": '"pair";q=2;w=1, "test.ten";q=10;w=60',
    }
    refused = await ask(limiter, descriptor(ten="x"), descriptor(two="x"), hits=2)
    headers = headers_of(refused)
    assert (headers["X-RateLimit-Limit"][:2], headers["X-RateLimit-Remaining"]) == ("2,", "1")
    assert headers["Retry-After"] == "1"
    assert headers_of(await ask(limiter, descriptor(none="x"))) == {}


async def test_headers_can_be_switched_off() -> None:
    limiter = Limiter(RULES, headers=False)
    answer = await ask(limiter, descriptor(two="x"), hits=3)
    assert (answer.overall_code, headers_of(answer)) == (OVER_LIMIT, {})


async def test_an_answer_without_the_store_says_so() -> None:
    limiter = Limiter(RULES, strict=True)
    answer = await ask(limiter, descriptor(ten="x"))
    assert ("x-waypost-degraded" in headers_of(answer), answer.HasField("dynamic_metadata")) == (False, False)
    limiter.store.fails = True
    answer = await ask(limiter, descriptor(ten="x"))
    assert headers_of(answer)["x-waypost-degraded"] == "true"
    assert MessageToDict(answer.dynamic_metadata) == {"degraded": True}


async def test_dynamic_metadata_is_that_of_the_reference() -> None:
    limiter = Limiter(RULES, metadata=True)
    two = descriptor(two="x", hits=1)
    asked = [two, descriptor(ten="y", other="z"), overridden(3, 1, free="x"), descriptor(ten="x")]
    answer = await ask(limiter, *asked, hits=2)
    assert MessageToDict(answer.dynamic_metadata) == {
        "domain": "test",
        "descriptors": [
            {"entries": ["two=x"], "hitsAddend": 1.0},
            {"entries": ["ten=y", "other=z"]},
            {"entries": ["free=x"], "limit": "requests_per_unit: 3 unit: SECOND"},
            {"entries": ["ten=x"]},
        ],
        "hitsAddend": 2.0,
        "metadata": {"owner": "a", "tags": {"x": "1", "y": "2"}},
    }
    # Of a rule that refuses nothing is told.
    answer = await ask(limiter, descriptor(two="x", hits=5))
    assert "metadata" not in MessageToDict(answer.dynamic_metadata)


async def test_nobody_asks_it_through_the_edge() -> None:
    limiter = Limiter(RULES)
    async with limiter.serving() as serving:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await serving.envoy.ShouldRateLimit(asking(descriptor(two="x")), metadata=EDGE)
    assert (raised.value.code(), limiter.told) == (grpc.StatusCode.UNIMPLEMENTED, [])
