"""Bounds: calls in flight, sizes of messages and metadata; what is too much is refused, and nothing leaks."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.service import (
    GET_LINK,
    SERVING,
    Held,
    Links,
    details_of,
    echo,
    fail,
    raw_call,
    reason_of,
    running,
    status_of,
)
from tests.support.waiting import until
from waypost import errors
from waypost.api.v1.link_service_pb2 import CreateLinkRequest
from waypost.rpc.server import RpcServerOptions


async def test_exactly_so_many_calls_are_admitted_at_a_time() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links, max_in_flight=3) as service:
        calls = [asyncio.ensure_future(service.get()) for _ in range(3)]
        await held.has(3)
        refusal = await service.refusal()
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(refusal) == ("OVERLOADED", {"max_in_flight": "3"})
        assert details_of(status_of(refusal))["RetryInfo"].retry_delay.ToTimedelta().total_seconds() == 1
        assert await service.sample("inflight") == 3
        assert await service.sample("load_shed_total", reason="in_flight") == 1
        held.go.set()
        assert [(await call).short_code for call in calls] == ["abc"] * 3
        assert (await service.get()).short_code == "abc"
        assert await service.sample("inflight") == 0


async def test_a_full_server_still_says_that_it_is_alive() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links, max_in_flight=1) as service:
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        assert await service.check() == SERVING
        assert (await service.ready())[0] == 200
        held.go.set()
        await call


async def test_a_call_gives_its_place_back_however_it_ends() -> None:
    links, held = Links(), Held()
    async with running(links, max_in_flight=2, default_deadline_ms=400) as service:
        for behave in (fail(errors.LinkNotFound("a")), fail(RuntimeError()), fail(asyncio.CancelledError()), held):
            links.script.get_link = behave
            for _ in range(3):
                await service.refusal()
        links.script.get_link = held
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        call.cancel()
        await held.has(0)
        held.go.set()
        assert [link.short_code for link in await asyncio.gather(service.get("a"), service.get("b"))] == ["a", "b"]
        assert await service.sample("inflight") == 0


async def test_refused_calls_take_no_place() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links, max_in_flight=1) as service:
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        for _ in range(5):
            await service.refusal()
        assert await service.sample("inflight") == 1
        held.go.set()
        await call
        assert await service.sample("inflight") == 0


async def test_a_burst_is_refused_by_us_and_not_dropped_by_grpcio() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links, max_in_flight=10, log_level="error", default_deadline_ms=30_000) as service:
        # More than grpcio lets wait by itself; several connections, as each has its own bound on streams.
        stubs = [(await service.another_channel()).unary_unary(GET_LINK) for _ in range(3)]
        outcomes: Counter[str] = Counter()

        async def call(number: int) -> None:
            try:
                await stubs[number % 3](b"")
            except grpc.aio.AioRpcError as error:
                outcomes[reason_of(error)[0]] += 1
                if outcomes["OVERLOADED"] == 1790:
                    held.go.set()
            else:
                outcomes["OK"] += 1

        await asyncio.gather(*[call(number) for number in range(1800)])
    assert outcomes == {"OK": 10, "OVERLOADED": 1790}


async def test_a_message_that_is_too_large_is_refused() -> None:
    async with running(Links(), max_message_bytes=2048) as service:
        await service.links.CreateLink(CreateLinkRequest(url="x" * 2000))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.links.CreateLink(CreateLinkRequest(url="x" * 2100))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await service.get()).short_code == "abc"


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "held open"])
@pytest.mark.parametrize("path", [GET_LINK.encode(), b"/waypost.api.v1.LinkService/NoSuch"])
async def test_a_call_that_brings_no_message_is_answered_in_time(path: bytes, ended: bool) -> None:
    """grpcio itself would never answer it, and nobody would ever hear of it."""
    async with running(Links(), default_deadline_ms=500) as service:
        async with raw_call(service.ports.control, path, message=None, ended=ended) as reader, asyncio.timeout(5):
            line = await service.log.rpc()
            assert await reader.read(1)
        assert line["code"] == ("UNIMPLEMENTED" if b"NoSuch" in path else "INVALID_ARGUMENT")
        assert (await service.get()).short_code == "abc"


async def test_metadata_that_is_too_large_is_refused() -> None:
    most = RpcServerOptions().max_metadata_bytes
    async with running(Links()) as service:
        await service.get(metadata=(("x-large", "x" * (most - 1000)),))
        refusal = await service.refusal(metadata=(("x-large", "x" * (most * 2 + 1000)),))
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await service.get()).short_code == "abc"


async def test_a_small_answer_may_be_as_large_as_its_method_likes() -> None:
    async def behave(request: object, context: object) -> object:
        link = await echo(request, context)  # type: ignore[arg-type]
        link.original_url = "x" * 1_000_000
        return link

    links = Links()
    links.script.get_link = behave
    async with running(links, max_message_bytes=2048) as service:
        assert len((await service.get()).original_url) == 1_000_000


@pytest.mark.parametrize("path", [b"/caf\xff\xfe", b"\x80", b"/waypost.api.v1.LinkService/\xc3"])
async def test_a_path_that_is_no_text_does_not_end_the_service(path: bytes) -> None:
    """It ends grpcio's accepting loop (1.85.1), for everybody and for good; the port must come back on its own."""
    async with running(Links()) as service:
        assert (await service.get()).short_code == "abc"
        async with raw_call(service.ports.control, path):
            # grpcio's own report of the failure.
            await until(lambda: "codec can't decode" in service.log.text)
            channel = await service.another_channel(("grpc.initial_reconnect_backoff_ms", 100))
            answer = await channel.unary_unary(GET_LINK)(b"", wait_for_ready=True, timeout=5)
        assert answer == b""
        assert service.log.of("control port failed; it is opened again")
        assert (await service.ready())[0] == 200
        request = health_pb2.HealthCheckRequest()
        assert (await service.health.Check(request, wait_for_ready=True, timeout=5)).status == SERVING


@pytest.mark.parametrize("path", [b"", b"x", b"/a\x01b", b"/%ff", b"/a b", b"//", b"/waypost.api.v1.LinkService/"])
async def test_a_strange_path_is_answered_or_dropped_and_harms_nobody(path: bytes) -> None:
    async with running(Links()) as service:
        async with raw_call(service.ports.control, path):
            assert (await service.get()).short_code == "abc"
        assert not service.log.of("control port failed; it is opened again")


async def test_a_connection_that_speaks_another_protocol_harms_nobody() -> None:
    async with running(Links()) as service:
        for port in (service.ports.control, service.ports.metrics):
            for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\x00" * 5000, b""):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                writer.close()
        assert (await service.get()).short_code == "abc"
        assert (await service.ready())[0] == 200
