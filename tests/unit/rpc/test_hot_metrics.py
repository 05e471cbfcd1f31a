"""What a hot port's metrics say of real calls."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import pytest
from prometheus_client import CollectorRegistry

import native
from tests.integration.h2.wire import wire
from tests.support.hot_port import need_hot_port
from waypost.rpc.context import CallContext
from waypost.rpc.server import HEALTH_CHECK

if not native.HOT_PORT:
    need_hot_port()

from native._health import HealthAnswers
from native._server import BUCKETS
from waypost.rpc.hot_metrics import HotPortMetrics
from waypost.rpc.hot_options import HotServerOptions
from waypost.rpc.hot_server import HotServer


async def _nobody_waits(_: float) -> bool:
    return True


async def _echo(_: CallContext, request: bytes) -> bytes:
    return request


def _measured(options: HotServerOptions | None = None) -> tuple[HotServer, Callable[..., float | None]]:
    """A server that says back what it is sent, and what is counted of it by name and labels."""
    server = HotServer(_echo, options or HotServerOptions())
    registry = CollectorRegistry()
    registry.register(HotPortMetrics(server.transport))
    return server, lambda name, **labels: registry.get_sample_value(f"hot_port_{name}", labels)


async def test_tell_of_calls_connections_and_bounds() -> None:
    server, value = _measured(HotServerOptions(max_message_bytes=10))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/any.Service/Method")
            assert await call(b"ten bytes!") == b"ten bytes!"
            assert (value("calls_up_total"), value("connections"), value("accepted_total")) == (1, 1, 1)
            assert (value("queue_seconds_count"), value("queue_length")) == (1, 0)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(b"more than ten")
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert value("cap_hits_total", cap="message") == 1
            assert (value("refused_total"), value("calls_up_total"), value("in_flight")) == (1, 1, 0)
    finally:
        await server.stop(1.0, _nobody_waits)
    assert value("connections") == 0
    assert value("waiting_bytes") == 0


async def test_tell_how_long_calls_wait_for_python() -> None:
    server, value = _measured()
    await server.start()
    try:
        async with wire(server.port) as connection:
            stream = connection.call()
            # Python does nothing else meanwhile: whoever comes waits.
            while value("calls_up_total") != 1:
                time.sleep(0.001)
            assert (value("queue_length"), value("queue_seconds_count")) == (1, 0)
            time.sleep(0.06)
            await connection.answer(stream)
        assert value("queue_length") == 0
        buckets = [value("queue_seconds_bucket", le=le) for le in ("0.05", "+Inf")]
        assert (buckets, value("queue_seconds_count")) == ([0, 1], 1)
        waited = value("queue_seconds_sum")
        assert waited is not None
        assert waited >= 0.06
    finally:
        await server.stop(1.0, _nobody_waits)


async def test_tell_of_calls_that_handlers_answer() -> None:
    server, value = _measured()
    health = HealthAnswers(("",), seconds=3600)
    health.register(server.transport)
    health.set("", True)
    health.beat()
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(HEALTH_CHECK)
            for _ in range(3):
                await call(b"")
    finally:
        await server.stop(1.0, _nobody_waits)
    assert value("handler_seconds_count", rpc_method=HEALTH_CHECK) == 3
    # Each bucket has those below it, too.
    within = [value("handler_seconds_bucket", rpc_method=HEALTH_CHECK, le=str(le)) for le in BUCKETS]
    assert None not in within
    assert within == sorted(count or 0 for count in within)
    assert value("handler_seconds_bucket", rpc_method=HEALTH_CHECK, le="+Inf") == 3
    assert (value("handler_seconds_sum", rpc_method=HEALTH_CHECK) or 0) > 0
    assert value("handler_failures_total", rpc_method=HEALTH_CHECK) == 0
    assert value("calls_up_total") == 0
