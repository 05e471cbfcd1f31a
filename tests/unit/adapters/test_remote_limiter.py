"""The limiter in another process, seen from here: what it says counts while it speaks, and its silence costs little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from tests.support.waiting import until
from waypost.adapters.remote_limiter import RemoteLimiter
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as pb_grpc
from waypost.breaker import Breaker, BreakerState
from waypost.errors import DependencyUnavailable
from waypost.model import Budget, LimitDecision, LimitEntry
from waypost.rpc.channel import channel
from waypost.rpc.context import CURRENT, CallContext

DESCRIPTORS = [(LimitEntry("route_class", "create"), LimitEntry("remote_address", "192.0.2.7")), (LimitEntry("a", ""),)]
ADMITTED = pb.CheckResponse(allowed=True, statuses=[pb.DescriptorStatus(allowed=True, rule="one")])
PATIENCE = 10.0
"""Seconds: long enough for a busy machine."""


class Script(pb_grpc.RateLimitServiceServicer):
    """A ratelimiter that answers as a test says."""

    def __init__(self) -> None:
        self.asked: list[pb.CheckRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.answer: Callable[[Any], Awaitable[pb.CheckResponse]] = self.admit

    async def Check(self, request: pb.CheckRequest, context: Any) -> pb.CheckResponse:
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        return await self.answer(context)

    async def admit(self, context: Any) -> pb.CheckResponse:
        return ADMITTED

    async def hang(self, context: Any) -> pb.CheckResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    def fail(self, code: grpc.StatusCode) -> None:
        """Every call ends with this status."""

        async def abort(context: Any) -> pb.CheckResponse:
            await context.abort(code, "as the script says")
            raise AssertionError("unreachable")

        self.answer = abort


@dataclass
class Fallback:
    """Decides what it was told to decide."""

    decision: LimitDecision = field(default_factory=lambda: LimitDecision(True))
    asked: list[tuple[str, Sequence[Sequence[LimitEntry]], int]] = field(default_factory=list)

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        self.asked.append((domain, descriptors, hits))
        return self.decision


class World:
    """A remote limiter, its server and its fallback; the breaker opens at three and looks again after five seconds."""

    def __init__(self, link: grpc.aio.Channel, timeout: float) -> None:
        self.script = Script()  # type: ignore[abstract]  # nothing else is asked
        self.fallback = Fallback()
        self.now = 0.0
        self.breaker = Breaker(failures=3, retry_after=5.0, monotonic=lambda: self.now)
        self.registry = CollectorRegistry()
        self.limiter = RemoteLimiter(link, self.fallback, timeout, self.breaker, registry=self.registry)

    async def check(self, hits: int = 1) -> LimitDecision:
        return await self.limiter.check("waypost", DESCRIPTORS, hits)

    def counted(self, decision: str, mode: str) -> float | None:
        return self.registry.get_sample_value("ratelimit_decisions_total", {"decision": decision, "mode": mode})


@asynccontextmanager
async def world(timeout: float = PATIENCE) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        server = grpc.aio.server()
        stack.push_async_callback(server.stop, None)
        port = server.add_insecure_port("127.0.0.1:0")
        link = await stack.enter_async_context(channel(f"127.0.0.1:{port}"))
        made = World(link, timeout)
        pb_grpc.add_RateLimitServiceServicer_to_server(made.script, server)
        await server.start()
        await link.channel_ready()
        yield made


@asynccontextmanager
async def dead_world() -> AsyncIterator[World]:
    """Nobody listens on the port."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.stop(None)
    async with channel(f"127.0.0.1:{port}") as link:
        yield World(link, PATIENCE)


async def test_question_is_passed_on_whole() -> None:
    async with world() as w:
        assert await w.check(hits=3) == LimitDecision(True)
    (request,) = w.script.asked
    assert request == pb.CheckRequest(
        domain="waypost",
        descriptors=[
            pb.RateLimitDescriptor(
                entries=[
                    pb.RateLimitEntry(key="route_class", value="create"),
                    pb.RateLimitEntry(key="remote_address", value="192.0.2.7"),
                ]
            ),
            pb.RateLimitDescriptor(entries=[pb.RateLimitEntry(key="a")]),
        ],
        hits_addend=3,
    )
    assert w.fallback.asked == []


async def test_refusal_names_the_rule_that_refuses() -> None:
    response = pb.CheckResponse(
        allowed=False,
        statuses=[
            pb.DescriptorStatus(allowed=True, rule="one"),
            pb.DescriptorStatus(allowed=False, rule="two"),
            pb.DescriptorStatus(allowed=False, rule="three"),
        ],
    )
    response.retry_after.FromMicroseconds(1_500_001)

    async def refuse(context: Any) -> pb.CheckResponse:
        return response

    async with world() as w:
        w.script.answer = refuse
        assert await w.check() == LimitDecision(False, "two", 1.500001, degraded=False)
        assert w.breaker.state is BreakerState.CLOSED


async def test_refusal_tells_what_is_known_of_the_limit_that_refuses() -> None:
    refusing = pb.DescriptorStatus(allowed=False, rule="two", limit=30, remaining=1)
    refusing.window.FromSeconds(60)
    refusing.reset_after.FromMilliseconds(2500)

    async def refuse(context: Any) -> pb.CheckResponse:
        return pb.CheckResponse(allowed=False, statuses=[pb.DescriptorStatus(allowed=True, rule="one"), refusing])

    async with world() as w:
        w.script.answer = refuse
        assert (await w.check(hits=2)).budget == Budget(30, 60.0, 1, 2.5)


async def test_refusal_that_names_no_time_is_for_ever() -> None:
    async def refuse(context: Any) -> pb.CheckResponse:
        return pb.CheckResponse(allowed=False, statuses=[pb.DescriptorStatus(allowed=False, rule="one")])

    async with world() as w:
        w.script.answer = refuse
        assert await w.check(hits=1000) == LimitDecision(False, "one", None, degraded=False)


async def test_call_carries_its_id_on() -> None:
    async with world() as w:
        await w.check()
        context = CallContext("/a.B/C", [], "unix:", None)
        context.correlation_id = "call-1"
        token = CURRENT.set(context)
        try:
            await w.check()
        finally:
            CURRENT.reset(token)
    assert "x-correlation-id" not in w.script.metadata[0]
    assert w.script.metadata[1]["x-correlation-id"] == "call-1"


@pytest.mark.parametrize("decision", [LimitDecision(True), LimitDecision(False, "local", 4.0)])
async def test_dead_ratelimiter_is_stood_in_for(decision: LimitDecision) -> None:
    async with dead_world() as w:
        w.fallback.decision = decision
        found = await w.check(hits=2)
        assert found == LimitDecision(decision.allowed, decision.rule, decision.retry_after, degraded=True)
        assert w.fallback.asked == [("waypost", DESCRIPTORS, 2)]


async def test_dead_ratelimiter_is_not_asked_for_long() -> None:
    async with dead_world() as w:
        for _ in range(3):
            assert w.breaker.state is BreakerState.CLOSED
            assert (await w.check()).degraded
        assert w.breaker.state is BreakerState.OPEN


async def test_frozen_ratelimiter_costs_its_timeout_three_times() -> None:
    async with world(timeout=0.05) as w:
        w.script.answer = w.script.hang
        async with asyncio.timeout(PATIENCE):
            for _ in range(20):
                assert (await w.check()).degraded
        assert w.breaker.state is BreakerState.OPEN
        assert len(w.script.asked) <= 3
        assert len(w.fallback.asked) == 20


async def test_breaker_closes_when_the_ratelimiter_is_back() -> None:
    async with world() as w:
        w.script.fail(grpc.StatusCode.UNAVAILABLE)
        for _ in range(3):
            assert (await w.check()).degraded
        w.script.answer = w.script.admit
        assert (await w.check()).degraded
        assert len(w.script.asked) == 3
        w.now = 5.0
        for _ in range(2):
            assert await w.check() == LimitDecision(True)
        assert w.breaker.state is BreakerState.CLOSED
        assert len(w.script.asked) == 5


async def test_one_call_at_a_time_looks_whether_it_is_back() -> None:
    async with world() as w:
        w.script.fail(grpc.StatusCode.UNAVAILABLE)
        for _ in range(3):
            await w.check()
        w.now = 5.0
        decisions = await asyncio.gather(*(w.check() for _ in range(20)))
        assert all(decision.degraded for decision in decisions)
        assert len(w.script.asked) == 4
        assert w.breaker.state is BreakerState.OPEN


async def test_caller_who_leaves_during_the_look_does_not_end_all_looking() -> None:
    async with world() as w:
        w.script.fail(grpc.StatusCode.UNAVAILABLE)
        for _ in range(3):
            await w.check()
        w.now = 5.0
        w.script.answer = w.script.hang
        task = asyncio.create_task(w.check())
        await until(lambda: len(w.script.asked) == 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        w.script.answer = w.script.admit
        assert (await w.check()).degraded
        w.now = 10.0
        assert not (await w.check()).degraded


async def test_question_that_is_refused_is_no_sign_of_death() -> None:
    async with world() as w:
        w.script.fail(grpc.StatusCode.INVALID_ARGUMENT)
        for _ in range(10):
            assert (await w.check()).degraded
        assert w.breaker.state is BreakerState.CLOSED
        assert len(w.script.asked) == 10


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"])
async def test_distress_opens_the_breaker(code: str) -> None:
    async with world() as w:
        w.script.fail(grpc.StatusCode[code])
        for _ in range(5):
            assert (await w.check()).degraded
        assert w.breaker.state is BreakerState.OPEN
        assert len(w.script.asked) == 3


async def test_failures_must_follow_each_other() -> None:
    async with world() as w:
        for _ in range(5):
            w.script.fail(grpc.StatusCode.UNAVAILABLE)
            for _ in range(2):
                assert (await w.check()).degraded
            w.script.answer = w.script.admit
            assert not (await w.check()).degraded


async def test_cancelled_caller_is_cancelled_not_answered() -> None:
    async with world() as w:
        w.script.answer = w.script.hang
        for number in range(5):
            task = asyncio.create_task(w.check())
            await until(lambda seen=number + 1: len(w.script.asked) == seen)  # type: ignore[misc]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert w.fallback.asked == []
        # The callers' impatience says nothing about the ratelimiter.
        assert w.breaker.state is BreakerState.CLOSED


async def test_probe() -> None:
    async with world() as w:
        await w.limiter.probe()
        assert w.script.asked[0].domain == "waypost"
        w.script.fail(grpc.StatusCode.UNAVAILABLE)
        with pytest.raises(DependencyUnavailable):
            await w.limiter.probe()
    async with dead_world() as w:
        with pytest.raises(DependencyUnavailable) as caught:
            await w.limiter.probe()
    # Shown to anyone who asks for the health: no addresses.
    assert "127.0.0.1" not in str(caught.value)


async def test_decisions_are_counted_by_who_made_them() -> None:
    async with world() as w:
        assert w.counted("refused", "local") == 0
        await w.check()
        await w.check()
        w.script.fail(grpc.StatusCode.UNAVAILABLE)
        await w.check()
        w.fallback.decision = LimitDecision(False, "local", 4.0)
        await w.check()
        kinds = [(decision, mode) for mode in ("remote", "local") for decision in ("allowed", "refused")]
        assert [w.counted(*kind) for kind in kinds] == [2, 0, 1, 1]


async def test_decisions_need_not_be_counted() -> None:
    async with channel("127.0.0.1:1") as link:
        breakers = [Breaker(failures=3, retry_after=5.0) for _ in range(2)]
        for breaker in breakers:
            RemoteLimiter(link, Fallback(), PATIENCE, breaker)
