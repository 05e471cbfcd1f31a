"""Deadlines, cancellations, bounds and the end of a service are the same on either port, for both together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest

from tests.integration.h2.wire import wire
from tests.support.hot_port import need_hot_port
from tests.support.service import GET_LINK, Held
from tests.support.two_ports import PORTS, TwoPorts, plain, two_ports
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.rpc.context import CURRENT, CallContext

need_hot_port()


def link(short_code: str) -> bytes:
    """A request for a link, and the answer that an echo has."""
    return pb.GetLinkRequest(short_code=short_code).SerializeToString()


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def lines(both: TwoPorts, count: int) -> list[dict[str, Any]]:
    """The lines about calls, so many, without what differs between any two calls."""
    await until(lambda: len(both.service.log.of("rpc")) == count)
    return [plain(line) for line in both.service.log.of("rpc")]


# ---- time ----


@pytest.mark.parametrize(
    ("timeout", "metadata", "seconds"),
    [
        (None, (), 2.0),
        (1.0, (), 1.0),
        (60.0, (), 3.0),
        (None, (("x-envoy-expected-rq-timeout-ms", "1500"),), 1.5),
        (1.0, (("x-envoy-expected-rq-timeout-ms", "1500"),), 1.0),
    ],
    ids=["the default", "the caller's", "the caller's, cut", "the edge's", "the caller's before the edge's"],
)
async def test_which_time_a_call_gets(
    timeout: float | None, metadata: tuple[tuple[str, str], ...], seconds: float
) -> None:
    async with two_ports(default_deadline_ms=2000, max_deadline_ms=3000) as both:
        for port in PORTS:
            outcome = await both.ask(port, timeout=timeout, metadata=metadata)
            assert outcome.seen is not None
            assert outcome.seen.seconds == pytest.approx(seconds, abs=0.3)
            assert outcome.seen.asked is (timeout is not None)


@pytest.mark.parametrize("settings", [{"default_deadline_ms": 500}, {"max_deadline_ms": 500}], ids=["default", "most"])
async def test_a_call_whose_time_is_up_is_answered_with_details(settings: dict[str, int]) -> None:
    async with two_ports(**settings) as both:
        both.links.script.get_link = held = Held()
        outcome = await both.same(timeout=10.0 if "max_deadline_ms" in settings else None)
        assert held.cancelled == 2
    assert (outcome.code, outcome.message) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "the call did not finish within its 0.500 s",
    )
    assert outcome.info.metadata["timeout_ms"] == "500"
    assert outcome.log is not None
    assert outcome.log["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("port", PORTS)
async def test_the_time_of_the_caller_ends_the_call_here_too(port: str) -> None:
    async with two_ports() as both, wire(both.port(port)) as connection:
        both.links.script.get_link = held = Held()
        stream = connection.call(b"", ("grpc-timeout", "100m"), path=GET_LINK)
        answer = await connection.answer(stream)
        await until(lambda: held.cancelled == 1)
        (line,) = await lines(both, 1)
    assert answer.status == 4
    assert (line["code"], line["peer"]) == ("DEADLINE_EXCEEDED", "ipv4:127.0.0.1:PORT")


# ---- callers that leave ----


async def test_a_call_that_its_caller_cancels_is_cancelled_in_the_servicer() -> None:
    async with two_ports() as both:
        both.links.script.get_link = held = Held()
        for port in PORTS:
            call = both.call(port)
            await held.has(1)
            call.cancel()
            await held.has(0)
            assert await call.code() is grpc.StatusCode.CANCELLED
        control, hot = await lines(both, 2)
        assert held.cancelled == 2
    assert hot == control
    assert (hot["code"], hot["level"]) == ("CANCELLED", "info")


@pytest.mark.parametrize("port", PORTS)
async def test_who_hangs_up_has_all_its_calls_cancelled(port: str) -> None:
    async with two_ports() as both:
        both.links.script.get_link = held = Held()
        async with wire(both.port(port)) as connection:
            for _ in range(20):
                connection.call(b"", path=GET_LINK)
            await held.has(20)
        await until(lambda: held.cancelled == 20)
        assert {line["code"] for line in await lines(both, 20)} == {"CANCELLED"}
        assert await both.service.sample("inflight") == 0


@pytest.mark.parametrize("port", PORTS)
async def test_an_answer_that_comes_too_late_harms_nobody(port: str) -> None:
    late = asyncio.Event()

    async def stubborn(request: Any, context: CallContext) -> pb.Link:
        if request.short_code == "late":
            late.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return pb.Link(short_code=request.short_code)

    async with two_ports() as both:
        both.links.script.get_link = stubborn
        call = both.call(port, link("late"))
        await late.wait()
        call.cancel()
        (line,) = await lines(both, 1)
        assert line["code"] == "OK"
        assert await both.call(port, link("next")) == link("next")
        assert await both.service.sample("inflight") == 0


@pytest.mark.parametrize("port", PORTS)
async def test_calls_that_are_cancelled_as_they_come_leave_nothing(port: str) -> None:
    async with two_ports(log_level="error") as both:
        both.links.script.get_link = held = Held()
        for _ in range(200):
            both.call(port).cancel()
        assert await both.call("control" if port == "hot" else "hot", method="/no.Such/Method").code()
        held.go.set()
        assert await both.call(port, link("abc")) == link("abc")

        async def idle() -> bool:
            return await both.service.sample("inflight") + await both.service.sample("hot_port_in_flight") == 0

        await until(idle)
        assert held.waiting == 0


# ---- bounds ----


async def test_calls_in_flight_are_bounded_for_both_ports_together() -> None:
    async with two_ports(max_in_flight=3) as both:
        both.links.script.get_link = held = Held()
        calls = [both.call(port, link("abc")) for port in ("control", "hot", "hot")]
        await held.has(3)
        outcome = await both.same()
        assert (outcome.code, outcome.info.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "ERROR_REASON_OVERLOADED",
        )
        assert await both.service.sample("load_shed_total", reason="in_flight") == 2
        # A full server is not a dead one.
        for port in PORTS:
            assert await both.call(port, method="/grpc.health.v1.Health/Check").code() is grpc.StatusCode.OK
        held.go.set()
        assert [await call for call in calls] == [link("abc")] * 3
        assert (await both.same()).code is grpc.StatusCode.OK


async def test_a_thousand_calls_at_a_time() -> None:
    """On one connection to each port, and each gets its own answer."""

    async def named(request: Any, context: CallContext) -> pb.Link:
        await held(request, context)
        assert CURRENT.get() is context
        return pb.Link(short_code=request.short_code, title=context.headers["x-name"])

    held = Held()
    async with two_ports(max_in_flight=5000, default_deadline_ms=60_000, log_level="error") as both:
        both.links.script.get_link = named
        for port in PORTS:
            held.go.clear()
            calls = [both.call(port, link(f"c{n}"), metadata=(("x-name", f"n{n}"),)) for n in range(1000)]
            await until(lambda: held.waiting == 1000, 60)
            held.go.set()
            answers = [pb.Link.FromString(await call) for call in calls]
            assert [(answer.short_code, answer.title) for answer in answers] == [
                (f"c{n}", f"n{n}") for n in range(1000)
            ]


# ---- the end ----


@pytest.mark.parametrize("port", PORTS)
async def test_what_is_in_flight_finishes_and_what_comes_anew_is_refused(port: str) -> None:
    async with two_ports() as both:
        both.links.script.get_link = held = Held()
        async with wire(both.port(port)) as connection:
            call = connection.call(link("abc"), path=GET_LINK)
            await held.has(1)
            both.service.stop.set()
            await until(lambda: both.service.log.of("draining") != [])

            async def refused() -> bool:
                return await both.service.sample("load_shed_total", reason="draining") > 0

            while not await refused():
                connection.call(link("abc"), path=GET_LINK)
                await asyncio.sleep(0.01)
            late = connection.call(link("abc"), path=GET_LINK)
            refusal = await connection.answer(late)
            assert (refusal.status, refusal.text) == (
                14,
                "the server is shutting down; try again, another one will answer",
            )
            held.go.set()
            assert (await connection.answer(call)).status == 0
        async with asyncio.timeout(10):
            await both.service.task


async def test_who_comes_anew_to_the_hot_port_finds_it_closed() -> None:
    async with two_ports() as both:
        both.links.script.get_link = held = Held()
        call = both.call("hot", link("abc"))
        await held.has(1)
        both.service.stop.set()

        async def closed() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", both.port("hot"))
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        await until(closed)
        own = ("grpc.use_local_subchannel_pool", 1)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{both.port('hot')}", options=[own]) as newcomer:
            stub: Any = newcomer.unary_unary(GET_LINK)
            assert (await refusal(stub(link("abc"), timeout=10))).code() is grpc.StatusCode.UNAVAILABLE
        held.go.set()
        assert await call == link("abc")


@pytest.mark.parametrize("port", PORTS)
async def test_a_method_that_takes_too_long_is_cancelled_at_the_end_of_the_drain(port: str) -> None:
    async with two_ports(drain_seconds=0.2) as both:
        both.links.script.get_link = held = Held()
        call = both.call(port)
        await held.has(1)
        assert await both.service.end() < 5
        assert held.cancelled == 1
        assert (await refusal(call)).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
