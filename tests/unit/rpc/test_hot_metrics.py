"""What a hot port's metrics say of real calls."""

from __future__ import annotations

import grpc
import pytest
from prometheus_client import CollectorRegistry

import native
from waypost.rpc.context import CallContext

if not native.HOT_PORT:
    pytest.skip("the hot port was not built", allow_module_level=True)

from waypost.rpc.hot_metrics import HotPortMetrics
from waypost.rpc.hot_options import HotServerOptions
from waypost.rpc.hot_server import HotServer


async def _nobody_waits(_: float) -> bool:
    return True


async def _echo(_: CallContext, request: bytes) -> bytes:
    return request


async def test_tell_of_calls_connections_and_bounds() -> None:
    server = HotServer(_echo, HotServerOptions(max_message_bytes=10))
    registry = CollectorRegistry()
    registry.register(HotPortMetrics(server.transport))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"hot_port_{name}", labels)

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
