"""Deadlines: every unary call has one, and what runs at its end is stopped."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.service import Dependency, Held, Links, reason_of, running
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2
from waypost.errors import DeadlineExceeded
from waypost.rpc.channel import outgoing_metadata
from waypost.rpc.context import CURRENT, CallContext
from waypost.rpc.deadlines import Deadline

EDGE = "x-envoy-expected-rq-timeout-ms"


async def own_time(request: object, context: CallContext) -> link_service_pb2.Link:
    """Answers with the seconds that the call has."""
    assert context.time_remaining() <= context.timeout
    return link_service_pb2.Link(short_code=repr(context.timeout))


@pytest.mark.parametrize(
    ("metadata", "timeout", "seconds"),
    [
        ((), None, 2.0),
        ((), 1.0, 1.0),
        ((), 60.0, 3.0),
        (((EDGE, "1500"),), None, 1.5),
        (((EDGE, "60000"),), None, 3.0),
        (((EDGE, "1500"),), 1.0, 1.0),
        (((EDGE, "0"),), None, 2.0),
        (((EDGE, "-5"),), None, 2.0),
        (((EDGE, "1e3"),), None, 2.0),
        (((EDGE, "soon"),), None, 2.0),
        (((EDGE, ""),), None, 2.0),
        (((EDGE, "9" * 400),), None, 2.0),
    ],
    ids=[
        "default",
        "the caller's",
        "the caller's, cut to the most",
        "the edge's",
        "the edge's, cut to the most",
        "the caller's before the edge's",
        *["default instead of nonsense"] * 6,
    ],
)
async def test_which_time_a_call_gets(
    metadata: tuple[tuple[str, str], ...], timeout: float | None, seconds: float
) -> None:
    links = Links()
    links.script.get_link = own_time
    async with running(links, default_deadline_ms=2000, max_deadline_ms=3000) as service:
        given = float((await service.get(metadata=metadata, timeout=timeout)).short_code)
    # gRPC rounds times up by as much as a percent on their way.
    assert given == pytest.approx(seconds, rel=0.1)


async def test_a_call_whose_time_is_up_is_answered_and_its_method_cancelled() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links, default_deadline_ms=500) as service:
        refusal = await service.refusal()
        assert refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason_of(refusal) == ("DEADLINE_EXCEEDED", {"timeout_ms": "500"})
        await until(lambda: held.cancelled == 1)
        assert (await service.log.rpc())["code"] == "DEADLINE_EXCEEDED"
        assert await service.sample("inflight") == 0


async def test_the_most_holds_against_a_patient_caller() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links, max_deadline_ms=80) as service:
        refusal = await service.refusal(timeout=60)
        assert reason_of(refusal) == ("DEADLINE_EXCEEDED", {"timeout_ms": "80"})
        assert held.cancelled == 1


async def test_a_caller_that_gives_up_at_its_deadline_counts_as_a_timeout() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links) as service:
        refusal = await service.refusal(timeout=0.2)
        assert refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: held.cancelled == 1)
        assert (await service.log.rpc())["code"] == "DEADLINE_EXCEEDED"


async def test_a_caller_that_hangs_up_cancels_the_method() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links) as service:
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        call.cancel()
        await until(lambda: held.cancelled == 1)
        line = await service.log.rpc()
        assert (line["code"], line["level"]) == ("CANCELLED", "info")
        assert await service.sample("inflight") == 0


async def test_a_method_s_own_timeout_is_not_the_call_s() -> None:
    async def impatient(request: object, context: CallContext) -> None:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    links = Links()
    links.script.get_link = impatient
    async with running(links) as service:
        assert (await service.refusal()).code() is grpc.StatusCode.INTERNAL


async def test_time_that_is_already_up_ends_the_call_at_its_first_wait() -> None:
    held = Held()

    async def call_next(context: CallContext, request: bytes) -> bytes:
        return bytes(await held(request, context))

    context = CallContext("/a.B/C", (), "test", 0.0)
    with pytest.raises(DeadlineExceeded):
        await Deadline(default=2.0, maximum=3.0)(context, b"", call_next)
    assert (held.waiting, held.cancelled) == (0, 1)


async def test_watching_health_has_no_deadline() -> None:
    postgres = Dependency()
    async with running(Links(), checks=[postgres.check()], default_deadline_ms=20, max_deadline_ms=20) as service:
        await service.status("ok")
        stream = service.health.Watch(health_pb2.HealthCheckRequest(service="postgres"))
        assert (await stream.read()).status == health_pb2.HealthCheckResponse.SERVING
        await asyncio.sleep(0.1)
        postgres.error = ConnectionError("away")
        assert (await stream.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        stream.cancel()


async def test_reflection_has_no_deadline() -> None:
    async with running(Links(), default_deadline_ms=20, max_deadline_ms=20) as service:
        stream = reflection_pb2_grpc.ServerReflectionStub(service.channel).ServerReflectionInfo()
        for _ in range(2):
            await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            assert (await stream.read()).list_services_response.service
            await asyncio.sleep(0.06)
        await stream.done_writing()


async def test_the_running_call_is_known_to_what_it_calls_and_to_nobody_else() -> None:
    seen: list[tuple[tuple[str, str], ...]] = []

    async def behave(request: object, context: CallContext) -> link_service_pb2.Link:
        assert CURRENT.get() is context
        await asyncio.sleep(0)
        seen.append(outgoing_metadata())
        return link_service_pb2.Link()

    links = Links()
    links.script.get_link = behave
    async with running(links) as service:
        names = [f"call-{n}" for n in range(20)]
        await asyncio.gather(*[service.get(metadata=(("x-correlation-id", name),)) for name in names])
    assert sorted(value for ((_, value),) in seen) == sorted(names)
    assert outgoing_metadata() == ()
