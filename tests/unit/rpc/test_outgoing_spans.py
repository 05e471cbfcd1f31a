"""Calls on our channels make spans as those of OpenTelemetry's own instrumentation, and carry their trace on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from tests.support.service import GET_LINK, Held, Limits, Links, Script, echo, running
from tests.support.spans import SAMPLED, SPAN_ID, TRACE_ID, Seen, Spans, context_of, embedded, ids, seen
from waypost.api.v1.link_service_pb2 import GetLinkRequest, Link
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
from waypost.api.v1.rate_limit_service_pb2 import CheckRequest
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from waypost.rpc.channel import channel, outgoing_metadata
from waypost.rpc.context import CallContext


@dataclass
class Behind:
    """A service that others call, by a channel of ours and by one with the instrumentation."""

    spans: Spans
    script: Script
    channel: grpc.aio.Channel
    links: Any
    instrumented: Any

    async def within(self, links: Any, **options: Any) -> Seen:
        """A call made within a span of somebody's; the call's own span, whose parent must be that."""
        tracer = self.spans.provider.get_tracer("test")
        with tracer.start_as_current_span("somebody's") as outer, contextlib.suppress(grpc.aio.AioRpcError):
            await links.GetLink(GetLinkRequest(), **options)
        parent = ids(outer.get_span_context())
        own = next(span for span in map(seen, await self.spans.have(2)) if span.kind == "CLIENT")
        assert own.parent == (*parent, False)
        return replace(own, parent=None)


@contextlib.asynccontextmanager
async def behind() -> AsyncIterator[Behind]:
    """The service, which makes no spans itself, and channels to it."""
    spans, script = Spans(), Script()
    interceptors: Any = aio_client_interceptors(tracer_provider=spans.provider)  # type: ignore[no-untyped-call]
    async with running(Links(script)) as service:
        # Our channels ask after the health of whom they call.
        await service.status("ok")
        address = f"127.0.0.1:{service.ports.control}"
        with embedded(spans.provider):
            ours = channel(address)
        async with ours, grpc.aio.insecure_channel(address, interceptors=interceptors) as theirs:
            yield Behind(spans, script, ours, LinkServiceStub(ours), LinkServiceStub(theirs))


async def test_a_call_makes_the_span_that_the_instrumentation_makes() -> None:
    async with behind() as subject:
        for code in grpc.StatusCode:

            async def behave(request: Any, context: CallContext, code: grpc.StatusCode = code) -> Any:
                if code is grpc.StatusCode.OK:
                    return Link()
                return await context.abort(code, "as told")

            subject.script.get_link = behave
            ours = await subject.within(subject.links)
            assert ours == await subject.within(subject.instrumented)
            assert (ours.attributes["rpc.grpc.status_code"], ours.kind) == (code.value[0], "CLIENT")


async def test_a_calls_time_is_up_as_the_instrumentation_has_it() -> None:
    async with behind() as subject:
        subject.script.get_link = Held()
        ours = await subject.within(subject.links, timeout=0.05)
        theirs = await subject.within(subject.instrumented, timeout=0.05)
        # Sometimes the one and sometimes the other side says so first.
        assert ours == replace(theirs, description=ours.description)
        assert (ours.attributes["rpc.grpc.status_code"], ours.status) == (4, "ERROR")


async def test_a_call_that_is_cancelled_is_hung_up_and_its_span_ends() -> None:
    async with behind() as subject:
        held = subject.script.get_link = Held()
        call = asyncio.create_task(subject.within(subject.links))
        await held.has(1)
        call.cancel()
        await asyncio.wait([call])
        await held.has(0)
        assert held.cancelled == 1
        own = seen(subject.spans.ended[0])
    assert call.cancelled()
    assert (own.name, own.attributes["rpc.grpc.status_code"], own.status) == (GET_LINK, 1, "ERROR")


async def test_a_call_that_cannot_even_be_made_ends_its_span() -> None:
    async with behind() as subject:
        await subject.channel.close()
        with (
            subject.spans.provider.get_tracer("test").start_as_current_span("somebody's"),
            pytest.raises(grpc.aio.UsageError),
        ):
            await subject.links.GetLink(GetLinkRequest())
        own = seen(subject.spans.ended[0])
    assert (own.name, own.attributes["rpc.grpc.status_code"], own.status) == (GET_LINK, 2, "ERROR")


async def test_what_nobody_called_for_makes_no_span() -> None:
    async with behind() as subject:
        await subject.links.GetLink(GetLinkRequest())
        assert subject.spans.ended == []
        assert "traceparent" not in subject.script.calls[0].headers


async def test_without_a_provider_a_call_is_a_plain_one() -> None:
    script = Script()
    async with running(Links(script)) as service, channel(f"127.0.0.1:{service.ports.control}") as plain:
        await service.status("ok")
        links: Any = LinkServiceStub(plain)
        with Spans().provider.get_tracer("test").start_as_current_span("somebody's"):
            call = links.GetLink(GetLinkRequest())
            await call
    assert type(call).__name__ == "UnaryUnaryCall"
    assert "traceparent" not in script.calls[0].headers


async def test_a_trace_goes_from_service_to_service_beside_what_else_a_call_carries() -> None:
    heard: list[CallContext] = []

    class Listening(Limits):
        async def Check(self, request: CheckRequest, context: Any) -> Any:
            heard.append(context)
            return await super().Check(request, context)

    spans, script = Spans(), Script()
    with embedded(spans.provider):
        async with (
            running(Listening()) as limiter,
            running(Links(script)) as gateway,
            channel(f"127.0.0.1:{limiter.ports.control}") as limits,
        ):
            await limiter.status("ok")

            async def ask(request: Any, context: CallContext) -> Any:
                stub: Any = RateLimitServiceStub(limits)
                await stub.Check(CheckRequest(), metadata=outgoing_metadata())
                return await echo(request, context)

            script.get_link = ask
            metadata = [SAMPLED, ("tracestate", "vendor=1"), ("x-correlation-id", "c-1")]
            await gateway.get(metadata=metadata)
            asked, call, answered = await spans.have(3)
    assert [seen(span).kind for span in (asked, call, answered)] == ["SERVER", "CLIENT", "SERVER"]
    assert seen(answered).parent == (TRACE_ID, SPAN_ID, True)
    assert seen(call).parent == (*ids(context_of(answered)), False)
    assert seen(asked).parent == (*ids(context_of(call)), True)
    assert {seen(span).trace_state for span in (asked, call, answered)} == {"vendor=1"}
    assert heard[0].correlation_id == "c-1"
    assert trace.get_current_span() is trace.INVALID_SPAN
