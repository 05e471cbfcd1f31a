"""Many at a time: threads, connections, files; and nobody at all."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import AsyncExitStack

import pytest

from tests.integration.h2.echo import SANITIZERS, Echo, echo
from tests.integration.h2.wire import RST_STREAM, frame, message, wire
from tests.support.waiting import until

CANCEL = b"\0\0\0\x08"


async def ask(server: Echo, number: int) -> None:
    """Calls of each kind on a connection of its own, some cancelled, and now and then hangs up in the middle."""
    chance = random.Random(number)
    async with wire(server.port) as connection:
        asked = {}
        for turn in range(60):
            content = bytes([number]) * chance.randrange(2000)
            method = chance.choice(["Compiled", "Up", "Refused", "Held"])
            stream = connection.call(content, path=f"/test.Echo/{method}")
            if method == "Held" or chance.random() < 0.1:
                if chance.random() < 0.5:
                    connection.send(frame(RST_STREAM, 0, stream, CANCEL))
            else:
                asked[stream] = (7, b"") if method == "Refused" else (0, message(content))
            if turn % 20 == 19:
                for one, expected in asked.items():
                    answer = await connection.answer(one)
                    assert (answer.status, answer.body) == expected
                asked.clear()


async def test_threads() -> None:
    with echo(threads=4) as server:
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                for number in range(24):
                    group.create_task(ask(server, number))
        await until(lambda: server.stats()["connections"] == 0)
        await until(lambda: server.stats()["in_flight"] == 0)
        await until(lambda: server.stats()["waiting_bytes"] == 0)
        stats = server.stats()
        assert stats["accepted"] == 72
        assert stats["cancelled"] <= stats["up"]


async def test_connections_are_spread_over_threads() -> None:
    with echo(threads=3) as server:
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(wire(server.port)) for _ in range(9)]
            for connection in connections:
                await connection.answer(connection.call())
            # Each thread has an epoll of its own; what it watches is told by its system.
            watched = [description.count("tfd:") - 1 for description in server.epolls()]
            assert sorted(watched) == [3, 3, 3]


async def test_more_connections_than_files() -> None:
    with echo() as server:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(wire(server.port))
            await first.answer(first.call())
            server.files(server.files_open())
            waiting = [await stack.enter_async_context(wire(server.port)) for _ in range(5)]
            calls = [connection.call(b"in time") for connection in waiting]
            # Those that are there are served.
            assert (await first.answer(first.call())).status == 0
            assert server.stats()["accepted"] == 1
            server.files(1000)
            for connection, call in zip(waiting, calls, strict=True):
                assert (await connection.answer(call)).body == message(b"in time")


async def test_who_accepts_rests_while_there_are_no_files() -> None:
    with echo() as server:
        assert server.stats()["accepted"] == 0  # it has begun
        server.files(server.files_open())
        before = server.turns_of_last()
        async with wire(server.port):
            # Who goes on to try never waits.
            await until(lambda: server.turns_of_last() - before > 5)
        assert server.stats()["accepted"] == 0


async def test_signals_are_the_owners() -> None:
    with echo(threads=3) as server:
        assert server.stats()["accepted"] == 0  # it has begun
        masks = server.blocked_signals()
        assert len(masks) >= 5
        for name in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM):
            assert [thread for thread, mask in masks.items() if name not in mask] == [server.pid], name


@pytest.mark.alone
@pytest.mark.skipif(bool(SANITIZERS), reason="sanitizers have a thread of their own, which does not sleep")
async def test_nobody_costs_nothing() -> None:
    with echo(threads=2) as server:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                connection = await stack.enter_async_context(wire(server.port))
                await connection.answer(connection.call())
                connection.call(path="/test.Echo/Held")
            await until(lambda: server.stats()["in_flight"] == 20)
            before = server.turns()
            # Nothing announces that nothing happens.
            await asyncio.sleep(1)
            assert server.turns() - before <= 2
