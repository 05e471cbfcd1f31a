"""Channels to other services: fail at once while the peer is away, find it again soon after."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from tests.support.hot_port import need_hot_port
from tests.support.service import GET_LINK, Dependency, Held, Links, echo, running
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2_grpc
from waypost.api.v1.link_service_pb2 import GetLinkRequest
from waypost.rpc.channel import channel, outgoing_metadata
from waypost.rpc.context import CallContext
from waypost.rpc.health import HEALTH_WATCH
from waypost.rpc.ports import listen


async def _code(peer: Any) -> grpc.StatusCode:
    try:
        await peer.unary_unary(GET_LINK)(b"", timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_it_calls() -> None:
    async with running(Links()) as service, channel(f"127.0.0.1:{service.ports.control}") as peer:
        assert await _code(peer) is grpc.StatusCode.OK


async def test_while_the_peer_is_away_calls_fail_at_once() -> None:
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    clock = asyncio.get_running_loop().time
    async with channel(f"127.0.0.1:{port}") as peer:
        for _ in range(3):
            started = clock()
            assert await _code(peer) is grpc.StatusCode.UNAVAILABLE
            assert clock() - started < 1


async def test_it_finds_the_peer_again_within_a_second_or_so() -> None:
    async with running(Links()) as service:
        port = service.ports.control
        async with channel(f"127.0.0.1:{port}") as peer:
            assert await _code(peer) is grpc.StatusCode.OK
            await service.end()
            assert await _code(peer) is grpc.StatusCode.UNAVAILABLE
            # Long enough for its attempts to become rare, were they not bounded.
            await asyncio.sleep(1)
            async with running(Links(), control_port=port):

                async def back() -> bool:
                    return await _code(peer) is grpc.StatusCode.OK

                await until(back, 2.5)


async def test_a_peer_that_is_not_ready_is_not_called() -> None:
    postgres = Dependency(up=False)
    links = Links()
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(links, checks=[postgres.check()]))
        peer = await stack.enter_async_context(channel(f"127.0.0.1:{service.ports.control}"))
        assert await _code(peer) is grpc.StatusCode.UNAVAILABLE
        assert not links.script.calls
        postgres.error = None

        async def back() -> bool:
            return await _code(peer) is grpc.StatusCode.OK

        await until(back, 3)


async def test_a_peer_that_drains_is_left_at_once() -> None:
    links, held = Links(), Held()
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(links, drain_delay_seconds=0.5))
        peer = await stack.enter_async_context(channel(f"127.0.0.1:{service.ports.control}"))
        assert await _code(peer) is grpc.StatusCode.OK
        links.script.get_link = held
        call = asyncio.ensure_future(_code(peer))
        await held.has(1)
        links.script.get_link = echo
        service.stop.set()

        async def left() -> bool:
            return await _code(peer) is grpc.StatusCode.UNAVAILABLE

        # Within the delay, in which it would still have been served.
        await until(left, 0.5)
        held.go.set()
        assert await call is grpc.StatusCode.OK


async def test_a_hot_port_cannot_be_watched_and_is_called_all_the_same() -> None:
    """Also if it is full, in which case it says so itself; and nobody reads of it in the log."""
    need_hot_port()
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links, hot=True, max_in_flight=1) as service:
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        async with channel(f"127.0.0.1:{service.ports.hot}") as peer:
            method: Any = peer.unary_unary(GET_LINK)
            with pytest.raises(grpc.aio.AioRpcError, match="the server is busy with 1 calls"):
                await method(b"", timeout=5)
            held.go.set()
            await call
            assert await _code(peer) is grpc.StatusCode.OK
        await service.log.rpc(3)
        assert {line["rpc"] for line in service.log.of("rpc")} == {GET_LINK}
        # It was asked: what has been left out of the log is counted.
        counted = {"rpc_method": "unknown", "rpc_status_code": "UNIMPLEMENTED"}
        assert await service.sample("rpc_server_call_duration_seconds_count", **counted) == 1
        # Whoever else is refused is in the log.
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service.ports.hot}") as other:
            method = other.unary_unary(f"{HEALTH_WATCH}er")
            with pytest.raises(grpc.aio.AioRpcError):
                await method(b"", timeout=5)
        assert (await service.log.rpc(4))["rpc"] == f"{HEALTH_WATCH}er"


async def test_a_call_on_behalf_of_a_call_carries_its_id() -> None:
    behind = Links()
    async with running(behind) as other, channel(f"127.0.0.1:{other.ports.control}") as peer:

        async def behave(request: object, context: CallContext) -> object:
            await link_service_pb2_grpc.LinkServiceStub(peer).GetLink(GetLinkRequest(), metadata=outgoing_metadata())
            return await echo(request, context)

        front = Links()
        front.script.get_link = behave
        async with running(front) as service:
            await service.get(metadata=(("x-correlation-id", "through-both"),))
    assert [context.correlation_id for context in behind.script.calls] == ["through-both"]
