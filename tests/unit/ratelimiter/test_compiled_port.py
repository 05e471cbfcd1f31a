"""The compiled handlers on a real port: what they answer never reaches Python, the rest does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.compiled import Compiled, check_request, envoy_request
from waypost.api.v1 import rate_limit_service_pb2_grpc as pb_grpc
from waypost.rpc.context import CallContext

RULES = "domain: test\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 2}}]\n"
ENVOYS = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
CHECK = "/waypost.api.v1.RateLimitService/Check"
HEALTH = "/grpc.health.v1.Health/Check"


class Port:
    """A hot port with all compiled handlers; what goes up is noted, and answered with nothing."""

    def __init__(self, compiled: Compiled, *, envoy: bool) -> None:
        from native._health import HealthAnswers
        from waypost.rpc.hot_options import HotServerOptions
        from waypost.rpc.hot_server import HotServer

        self.went_up: list[str] = []
        self.health = HealthAnswers([""], seconds=3600)
        self.server = HotServer(self._up, HotServerOptions(threads=2))
        compiled.checks.register(self.server.transport, envoy=envoy)
        self.health.register(self.server.transport)

    async def _up(self, context: CallContext, request: bytes) -> bytes:
        self.went_up.append(context.method)
        return b""

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """To the port, for the time of the block."""

        async def idle(_: float) -> bool:
            return True

        await self.server.start()
        try:
            async with grpc.aio.insecure_channel(self.server.address) as channel:
                yield channel
        finally:
            await self.server.stop(0.0, idle)


async def test_calls_are_answered_without_python() -> None:
    compiled = Compiled(RULES, log_every=1)
    port = Port(compiled, envoy=True)
    port.health.beat()
    port.health.set("", True)
    async with port.channel() as channel:
        limits: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
        for code in ("OK", "OK", "OVER_LIMIT"):
            call = limits.ShouldRateLimit(envoy_request({"k": "x"}), metadata=(("x-request-id", "mine"),))
            answer = await call
            assert answer.overall_code == rls_pb2.RateLimitResponse.Code.Value(code)
            assert ("x-correlation-id", "mine") in tuple(await call.trailing_metadata())
        assert not (await pb_grpc.RateLimitServiceStub(channel).Check(check_request({"k": "x"}))).allowed
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        stats = port.server.transport.stats()
    assert port.went_up == []
    assert {path: method["calls"] for path, method in stats["methods"].items()} == {ENVOYS: 3, CHECK: 1, HEALTH: 1}
    events, _, _ = compiled.checks.answers.take_events()
    assert {event.peer.rpartition(":")[0] for event in events} == {"ipv4:127.0.0.1"}
    assert [event.refused for event in events] == [0, 0, 1, 1]


async def test_what_the_handlers_leave_is_answered_by_the_chain() -> None:
    compiled = Compiled(RULES)
    port = Port(compiled, envoy=True)
    async with port.channel() as channel:
        limits: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
        await limits.ShouldRateLimit(envoy_request({"k": "x"}), metadata=(("x-waypost-edge", "1"),))
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="unknown"))
        assert port.went_up == [ENVOYS, HEALTH]
        compiled.checks.pass_up()
        await pb_grpc.RateLimitServiceStub(channel).Check(check_request({"k": "x"}))
        assert port.went_up == [ENVOYS, HEALTH, CHECK]


@pytest.mark.parametrize("envoy", [False, True])
async def test_envoys_method_is_the_servicers_where_it_wants_more(envoy: bool) -> None:
    port = Port(Compiled(RULES), envoy=envoy)
    async with port.channel() as channel:
        limits: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
        await limits.ShouldRateLimit(envoy_request({"k": "x"}))
        await pb_grpc.RateLimitServiceStub(channel).Check(check_request({"k": "x"}))
    assert port.went_up == ([] if envoy else [ENVOYS])
