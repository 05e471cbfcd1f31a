"""Calls make the same spans on both ports, and those that OpenTelemetry's own instrumentation makes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.support.hot_port import PORTS
from tests.support.service import GET_LINK, Behaviour, Held, Links, Script, echo, fail, raw_call, running
from tests.support.spans import NOT_SAMPLED, SAMPLED, SPAN_ID, TRACE_ID, Event, Seen, context_of, embedded, ids
from tests.support.traced import REQUEST, Traced, instrumented, traced
from tests.support.waiting import until
from waypost.api.v1.link_service_pb2 import GetLinkRequest
from waypost.errors import InvalidFields, LinkNotFound
from waypost.rpc import tracing
from waypost.rpc.context import EDGE_TIMEOUT, CallContext


def aborts(code: grpc.StatusCode, details: str = "as told") -> Behaviour:
    """Ends its call with this code."""

    async def behave(request: Any, context: CallContext) -> Any:
        await context.abort(code, details)

    return behave


Case = Callable[[Traced], Awaitable[Any]]


async def goes_well(port: Traced) -> None:
    port.script.get_link = echo
    await port.call()


async def goes_well_in_a_trace(port: Traced) -> None:
    port.script.get_link = echo
    await port.call(metadata=[SAMPLED, ("tracestate", "vendor=1,other=2")])


async def goes_well_without_a_valid_parent(port: Traced) -> None:
    port.script.get_link = echo
    await port.call(metadata=[("traceparent", "00-0-0-01"), ("tracestate", "vendor=1")])


def ends_with(code: grpc.StatusCode) -> Case:
    async def case(port: Traced) -> None:
        port.script.get_link = aborts(code)
        await port.fails(with_code=code)

    case.__name__ = f"ends_with_{code.name}"
    return case


async def finds_nothing(port: Traced) -> None:
    port.script.get_link = fail(LinkNotFound("abc"))
    await port.fails(with_code=grpc.StatusCode.NOT_FOUND)


async def is_asked_badly(port: Traced) -> None:
    port.script.get_link = fail(InvalidFields.one("short_code", "is not one"))
    await port.fails(with_code=grpc.StatusCode.INVALID_ARGUMENT)


async def has_a_defect(port: Traced) -> None:
    port.script.get_link = fail(RuntimeError("a defect"))
    await port.fails(with_code=grpc.StatusCode.INTERNAL)


async def cannot_be_read(port: Traced) -> None:
    await port.fails(with_code=grpc.StatusCode.INVALID_ARGUMENT, request=b"\xff\xff\xff")


async def has_no_message(port: Traced) -> None:
    async with raw_call(port.port, message=None, ended=True):
        await until(lambda: bool(port.spans.ended))


async def is_of_no_method(port: Traced) -> None:
    await port.fails(with_code=grpc.StatusCode.UNIMPLEMENTED, method="/waypost.api.v1.LinkService/NoSuchMethod")


async def is_of_no_service(port: Traced) -> None:
    await port.fails(with_code=grpc.StatusCode.UNIMPLEMENTED, method="/no.such.Service/Method/of/it")


async def takes_too_long(port: Traced) -> None:
    # A deadline of the edge's, which its caller does not see to as well.
    port.script.get_link = Held()
    await port.fails(with_code=grpc.StatusCode.DEADLINE_EXCEEDED, metadata=[(EDGE_TIMEOUT, "50")])


async def is_hung_up(port: Traced) -> None:
    await port.cancelled()


CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]

CASES: list[Case] = [
    goes_well,
    goes_well_in_a_trace,
    goes_well_without_a_valid_parent,
    *map(ends_with, CODES),
    finds_nothing,
    is_asked_badly,
    has_a_defect,
    cannot_be_read,
    has_no_message,
    is_of_no_method,
    is_of_no_service,
    takes_too_long,
    is_hung_up,
]

# grpcio ends a call with a status by an exception, which the instrumentation writes down as if it were one of the
# service's; and twice, as it does with all exceptions.
ABORTED = (Event("exception", "grpc._cython.cygrpc.AbortError", "Locally aborted."),) * 2

DEFECT = (Event("exception", "RuntimeError", "a defect"),)


def as_ours(theirs: Seen, case: Case) -> Seen:
    """The instrumentation's span with all that ours have otherwise.

    | what                | theirs                            | ours           | why                                  |
    |---------------------|-----------------------------------|----------------|--------------------------------------|
    | events of failures  | grpcio's own `AbortError`, twice  | none           | tells nothing: the status stands     |
    |                     |                                   |                | beside it                            |
    | events of defects   | the same                          | the exception, | who looks at a defect's span wants   |
    |                     |                                   | once           | to know what it was                  |
    | caller hung up      | code 0, as if all had gone well   | code 1         | the log line and the metric say      |
    |                     |                                   | (CANCELLED)    | CANCELLED                            |

    By tests of their own, below: a method's name without a service fails the call there; names and `user-agent` of any
    length go into the span there; `baggage` is carried on there; methods that are asked all the time make a span for
    every call there. And streams, which are for tools (reflection, health `Watch`), make no spans here.
    """
    if theirs.events:
        assert theirs.events == ABORTED
    ours = replace(theirs, events=DEFECT if case is has_a_defect else ())
    if case is is_hung_up:
        assert theirs.attributes["rpc.grpc.status_code"] == 0
        ours = replace(ours, attributes={**theirs.attributes, "rpc.grpc.status_code": 1})
    return ours


async def spans_of(opening: contextlib.AbstractAsyncContextManager[Traced]) -> dict[Case, Seen]:
    """The span of each case."""
    async with opening as port:
        spans = {}
        for case in CASES:
            await case(port)
            spans[case] = await port.spans.one()
        return spans


# Once for all cases: it takes long to start services.
@pytest.fixture(scope="module")
def theirs() -> dict[Case, Seen]:
    """The instrumentation's spans."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(spans_of(instrumented()))


@pytest.fixture(scope="module", params=PORTS)
def ours(request: pytest.FixtureRequest) -> dict[Case, Seen]:
    """The spans of either port."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(spans_of(traced(request.param)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_call_makes_the_span_that_the_instrumentation_makes(
    ours: dict[Case, Seen], theirs: dict[Case, Seen], case: Case
) -> None:
    assert ours[case] == as_ours(theirs[case], case)


@pytest.mark.parametrize("port", PORTS)
async def test_a_span_has_its_calls_parent_and_is_current_only_while_the_method_runs(port: str) -> None:
    inside: dict[str, tuple[str, str]] = {}
    held = Held()

    async def note(request: Any, context: CallContext) -> Any:
        answer = await held(request, context)
        # In a task of its own, too.
        inside[request.short_code] = await asyncio.create_task(current())
        return answer

    async def current() -> tuple[str, str]:
        return ids(trace.get_current_span().get_span_context())

    names = [f"c{n}" for n in range(40)]
    parents = {name: f"{n:032x}" for n, name in enumerate(names, 1)}
    async with traced(port) as subject:
        subject.script.get_link = note
        async with asyncio.TaskGroup() as group:
            for name in names:
                request = GetLinkRequest(short_code=name).SerializeToString()
                parent = [("traceparent", f"00-{parents[name]}-{SPAN_ID}-01")]
                group.create_task(subject.call(request=request, metadata=parent))
            await held.has(len(names))
            held.go.set()
        spans = {ids(context_of(span)): span for span in await subject.spans.have(len(names))}
        # The last call left nothing behind that the next would be a part of.
        await goes_well(subject)
        assert (await subject.spans.one()).parent is None
    assert len({span_id for _, span_id in inside.values()}) == len(names)
    for name in names:
        assert inside[name][0] == parents[name]
        parent_of = spans[inside[name]].parent
        assert parent_of is not None
        assert ids(parent_of) == (parents[name], SPAN_ID)
    assert await current() == ids(trace.INVALID_SPAN_CONTEXT)


@pytest.mark.parametrize("port", PORTS)
async def test_a_call_is_no_part_of_the_span_that_its_service_was_started_in(port: str) -> None:
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("starting"):
        async with traced(port) as subject:
            await subject.call()
            assert (await subject.spans.one()).parent is None


@pytest.mark.parametrize("port", PORTS)
async def test_a_call_in_a_trace_that_is_not_sampled_makes_no_span(port: str) -> None:
    async with traced(port) as subject:
        await subject.call(metadata=[NOT_SAMPLED])
        await subject.call(metadata=[SAMPLED])
        assert (await subject.spans.one()).parent == (TRACE_ID, SPAN_ID, True)


@pytest.mark.parametrize("port", PORTS)
async def test_health_is_asked_all_the_time_and_makes_a_span_only_for_a_caller_whose_trace_is_sampled(
    port: str,
) -> None:
    async with traced(port) as subject:
        health: Any = health_pb2_grpc.HealthStub(subject.channel)
        for metadata in [(), (NOT_SAMPLED,), (SAMPLED,)]:
            await health.Check(health_pb2.HealthCheckRequest(), metadata=metadata)
        span = await subject.spans.one()
    assert (span.name, span.parent) == ("/grpc.health.v1.Health/Check", (TRACE_ID, SPAN_ID, True))


@pytest.mark.parametrize("port", PORTS)
async def test_a_name_without_a_service_is_answered_and_makes_a_span(port: str) -> None:
    async with traced(port) as subject:
        await subject.fails(with_code=grpc.StatusCode.UNIMPLEMENTED, method="/nothing")
        span = await subject.spans.one()
    assert (span.name, span.attributes["rpc.service"], span.attributes["rpc.method"]) == ("/nothing", "nothing", "")


@pytest.mark.parametrize("port", PORTS)
async def test_what_a_caller_chooses_is_cut_and_not_written_about(port: str) -> None:
    long, bad = "m" * 5000, [SAMPLED, ("tracestate", "=" * 500)]
    async with traced(port) as subject:
        chatty = ("grpc.primary_user_agent", "u" * 5000)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{subject.port}", options=[chatty]) as subject.channel:
            await subject.fails(with_code=grpc.StatusCode.UNIMPLEMENTED, method=f"/s/{long}", metadata=bad)
        span = await subject.spans.one()
        await subject.service.log.rpc()
        written = [line for line in subject.service.log.lines if line["event"] != "rpc"]
    assert (span.name, span.attributes["rpc.method"]) == (f"/s/{long}"[:500], long[:497])
    assert span.attributes["rpc.user_agent"] == "u" * 500
    assert (span.parent, span.trace_state) == ((TRACE_ID, SPAN_ID, True), "")
    assert "tracestate" not in str(written)
    assert "=====" not in str(written), written


@pytest.mark.parametrize("port", PORTS)
async def test_a_defect_that_cannot_be_written_down_costs_its_caller_no_more_than_others(port: str) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    async with traced(port) as subject:
        subject.script.get_link = fail(Unspeakable())
        told = await subject.fails(with_code=grpc.StatusCode.INTERNAL)
        span = await subject.spans.one()
    assert (span.attributes["rpc.grpc.status_code"], span.status, span.events) == (13, "ERROR", ())
    assert "under this correlation id" in told


@pytest.mark.parametrize("port", PORTS)
async def test_without_a_provider_no_call_goes_near_a_tracer(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a tracer was asked")

    for kind, names in {
        trace.ProxyTracer: ("start_span", "start_as_current_span"),
        trace.NoOpTracer: ("start_span", "start_as_current_span"),
        TraceContextTextMapPropagator: ("extract", "inject"),
        tracing.Tracing: ("__call__",),
    }.items():
        for name in names:
            monkeypatch.setattr(kind, name, never)
    current: list[trace.Span] = []

    async def note(request: Any, context: CallContext) -> Any:
        current.append(trace.get_current_span())
        return await echo(request, context)

    script = Script()
    script.get_link = note
    assert not tracing.enabled()
    async with running(Links(script), hot=True) as service:
        address = f"127.0.0.1:{getattr(service.ports, port)}"
        channel: Any
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.unary_unary(GET_LINK)(REQUEST, metadata=[SAMPLED])
    assert current == [trace.INVALID_SPAN]


def test_tracing_is_on_with_a_provider_unless_that_is_told_to_make_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded(TracerProvider(shutdown_on_exit=False)):
        assert tracing.enabled()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with embedded(TracerProvider(shutdown_on_exit=False)):
        assert not tracing.enabled()
        assert not tracing.middleware()
        assert not tracing.interceptors()
