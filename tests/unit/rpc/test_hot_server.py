"""The hot port's server: what becomes of calls that cannot be answered, or that nobody waits for, and of forks."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import grpc
import pytest

import native
from tests.support.hot_port import need_hot_port
from tests.support.service import captured_log
from tests.support.waiting import until
from waypost.rpc.context import CallContext, Metadata

if not native.HOT_PORT:
    need_hot_port()

from waypost.rpc.hot_options import HotServerOptions
from waypost.rpc.hot_server import AT_ONCE, HotServer

METHOD = "/any.Service/Method"

FORKED = """
import os, socket, time
from native._server import Server
from waypost.rpc.hot_server import HotServer
from waypost.rpc.hot_options import HotServerOptions
server = HotServer(None, HotServerOptions()).transport
listener = socket.create_server(("127.0.0.1", 0))
server.start(listener.fileno())
child = os.fork()
if child == 0:
    server.drain()
    server.stop()
    del server
    os._exit(0)
_, status = os.waitpid(child, 0)
# What its threads use: one that was woken for good by the child would use all there is.
began, spent = time.monotonic(), time.process_time()
while time.monotonic() < began + 0.2:
    time.sleep(0.01)
print(status, time.process_time() - spent < 0.1)
"""


async def nobody_waits(_: float) -> bool:
    return True


async def with_metadata(context: CallContext, request: bytes) -> bytes:
    odd: dict[bytes, Metadata] = {b"a name": (("é", "1"),), b"a value": (("a", 1),)}  # type: ignore[dict-item]
    context.set_trailing_metadata(odd.get(request, ()))
    return request


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[HotServer]:
    """A server whose handler answers with what it is asked, and for some words with metadata that no field can have."""
    server = HotServer(with_metadata, HotServerOptions(max_resets=10_000))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(1.0, nobody_waits)


@pytest.mark.parametrize("asked", [b"a name", b"a value"])
async def test_an_answer_with_metadata_that_no_field_can_have_is_a_defect(asked: bytes) -> None:
    async with serving() as server, grpc.aio.insecure_channel(server.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        with captured_log() as log, pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(asked, timeout=10)
        assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert [line["rpc"] for line in log.of("the chain failed")] == [METHOD]
        assert await call(b"another") == b"another"
        assert server.transport.stats()["in_flight"] == 0


def count(server: HotServer, name: str) -> int:
    """One of the transport's numbers, by its name."""
    return int(server.transport.stats()[name])  # type: ignore[literal-required]


def hang_up_at_once(server: HotServer) -> None:
    """A call whose caller leaves while it waits to be taken: the event loop, in whose thread this is, takes nothing."""
    with grpc.insecure_channel(server.address) as channel:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        future = method.future(b"x" * 1000)
        while not count(server, "up"):
            time.sleep(0.001)
        future.cancel()
        while not count(server, "cancelled"):
            time.sleep(0.001)


async def test_a_call_whose_caller_left_before_it_was_taken_is_let_go_of() -> None:
    async with serving() as server:
        hang_up_at_once(server)
        assert count(server, "in_flight") == 1
        assert count(server, "waiting_bytes") > 1000
        await until(lambda: count(server, "in_flight") == 0 and count(server, "waiting_bytes") == 0)


async def test_a_call_whose_caller_left_before_its_task_began_is_ended() -> None:
    async with serving() as server:
        with grpc.insecure_channel(server.address) as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            future = method.future(b"")
            while not count(server, "up"):
                time.sleep(0.001)
            server._take()  # as the event loop does when it reads, which begins no task yet
            future.cancel()
            while not count(server, "cancelled"):
                time.sleep(0.001)
            server._take()
        # At once, not when somebody collects what refers to itself.
        assert count(server, "in_flight") == 0


async def test_more_calls_than_are_taken_at_once_are_all_answered() -> None:
    async with serving() as server, grpc.aio.insecure_channel(server.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        calls = [call(b"%d" % number, timeout=30) for number in range(3 * AT_ONCE)]
        assert [await one for one in calls] == [b"%d" % number for number in range(3 * AT_ONCE)]


async def test_a_stop_that_nobody_waits_for_any_more_still_closes_connections() -> None:
    begun, asked = asyncio.Event(), asyncio.Event()

    async def held(context: CallContext, request: bytes) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return request

    async def never_idle(_: float) -> bool:
        asked.set()
        return await asyncio.Event().wait()

    server = HotServer(held, HotServerOptions())
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        call = method(b"x", timeout=30)
        await begun.wait()
        stopping = asyncio.create_task(server.stop(60.0, never_idle))
        await asked.wait()
        assert count(server, "connections") == 1
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert count(server, "connections") == 0
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_starts_once() -> None:
    async with serving() as server:
        with pytest.raises(RuntimeError, match="has started"):
            server.transport.start(0)


def test_a_forked_process_leaves_the_server_to_the_other() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "True"]
