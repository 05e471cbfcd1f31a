"""A running service whose calls make spans: ours, or those of OpenTelemetry's instrumentation in its control port."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from tests.support.service import GET_LINK, Held, Links, Running, Script, running
from tests.support.spans import Spans, embedded
from waypost.api.v1.link_service_pb2 import GetLinkRequest

REQUEST = GetLinkRequest(short_code="abc").SerializeToString()


@dataclass
class Traced:
    """A port of a running service, and the spans that its calls make."""

    spans: Spans
    script: Script
    service: Running
    port: int
    channel: Any

    async def call(self, method: str = GET_LINK, request: bytes = REQUEST, **options: Any) -> bytes:
        """Calls a method, message by message of bytes."""
        answer: bytes = await self.channel.unary_unary(method)(request, **options)
        return answer

    async def fails(self, *, with_code: grpc.StatusCode, method: str = GET_LINK, **options: Any) -> str:
        """A call that ends with this code; what its caller is told."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.call(method, **options)
        assert raised.value.code() is with_code
        return raised.value.details() or ""

    async def cancelled(self) -> None:
        """A call whose caller hangs up while the method is at work."""
        held = self.script.get_link = Held()
        call = asyncio.create_task(self.call())
        await held.has(1)
        call.cancel()
        await asyncio.wait([call])
        await held.has(0)


@contextlib.asynccontextmanager
async def traced(port: str, **settings: Any) -> AsyncIterator[Traced]:
    """A service with a tracer provider, whose control or hot port is asked."""
    spans, script = Spans(), Script()
    with embedded(spans.provider):
        async with running(Links(script), hot=True, **settings) as service:
            number = getattr(service.ports, port)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
                yield Traced(spans, script, service, number, channel)


@contextlib.asynccontextmanager
async def instrumented(**settings: Any) -> AsyncIterator[Traced]:
    """A service that makes no spans, with OpenTelemetry's instrumentation in its control port, which does."""
    spans, script = Spans(), Script()
    interceptor: Any = aio_server_interceptor(tracer_provider=spans.provider)  # type: ignore[no-untyped-call]
    async with contextlib.AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(grpc.aio, "server", functools.partial(grpc.aio.server, interceptors=[interceptor]))
            service = await stack.enter_async_context(running(Links(script), **settings))
        number = service.ports.control
        async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
            yield Traced(spans, script, service, number, channel)
