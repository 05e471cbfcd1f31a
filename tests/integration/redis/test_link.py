"""The shared connection: when it is dropped while calls come in, and to a server that is too slow for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from redis.asyncio.connection import Connection

from tests.support.redis import RedisServer
from tests.support.redis_counters import DOMAIN, healthy, question
from tests.support.waiting import until
from waypost.adapters.redis_counters import RedisCounters
from waypost.adapters.redis_link import Link
from waypost.errors import StoreUnavailable


async def _calls_around_a_drop(server: RedisServer) -> list[bytes]:
    async def connect() -> Connection:
        return Connection(host="127.0.0.1", port=server.port)

    link = Link(connect, connect_timeout=5.0, capacity=100)
    running = asyncio.create_task(link.run())
    deadline = asyncio.get_running_loop().time() + 10
    try:
        await link.execute(b"ECHO", b"before", deadline=deadline)
        link.drop("a test")
        # The sender of the dropped connection has not ended yet, and wakes for these.
        calls = [asyncio.create_task(link.execute(b"ECHO", word, deadline=deadline)) for word in (b"a", b"b", b"c")]
        return list(await asyncio.gather(*calls))
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_calls_that_come_after_a_drop_are_sent_on_the_next_connection(
    server: RedisServer, run: Callable[[Coroutine[Any, Any, Any]], Any]
) -> None:
    assert run(_calls_around_a_drop(server)) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("fails", [False, True], ids=["connected", "refused"])
async def test_it_ends_when_told_to_though_the_driver_forgets_that_it_was(server: RedisServer, fails: bool) -> None:
    connecting = asyncio.Event()

    async def connect() -> Connection:
        connecting.set()
        # As `asyncio.wait_for` may, before Python 3.12.
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if fails:
            raise ConnectionError
        return Connection(host="127.0.0.1", port=server.port)

    running = asyncio.create_task(Link(connect, connect_timeout=60.0, capacity=1).run())
    await connecting.wait()
    running.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.cancelled()


async def test_who_is_told_to_end_while_a_connection_is_being_lost_leaves_none_open(server: RedisServer) -> None:
    lingering, release = asyncio.Event(), asyncio.Event()

    class Lingering(Connection):
        """Sending does not end at once when it is told to."""

        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            if b"LINGER" not in b"".join(command):
                await super().send_packed_command(command, check_health)
                return
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lingering.set()
                await release.wait()
                raise

    connections: list[Connection] = []

    async def connect() -> Connection:
        connections.append(Lingering(host="127.0.0.1", port=server.port))
        return connections[-1]

    link = Link(connect, connect_timeout=5.0, capacity=100)
    running = asyncio.create_task(link.run())
    deadline = asyncio.get_running_loop().time() + 60
    await link.execute(b"ECHO", b"before", deadline=deadline)
    lost = asyncio.create_task(link.execute(b"LINGER", deadline=deadline))
    await until(lambda: link._sent != deque())
    await asyncio.to_thread(server.execute, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await lingering.wait()
    running.cancel()
    await asyncio.sleep(0)
    release.set()
    await asyncio.wait([running, lost], timeout=10)
    assert running.cancelled()
    assert isinstance(lost.exception(), StoreUnavailable)
    (connection,) = connections
    assert not connection.is_connected


class _SlowWay:
    """The way to a server, on which each answer takes `seconds` longer."""

    def __init__(self, server: RedisServer, seconds: float) -> None:
        self.seconds = seconds
        self._server = server

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(self._server.socket)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry(reader, questions, lambda: 0))
                tasks.create_task(self._carry(answers, writer, lambda: self.seconds))
        except* ConnectionError:
            pass
        finally:
            questions.close()
            writer.close()

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: Callable[[], float]
    ) -> None:
        while data := await source.read(65_536):
            await asyncio.sleep(seconds())
            target.write(data)
        raise ConnectionResetError


async def test_a_server_that_answers_later_than_calls_wait_is_as_good_as_away(server: RedisServer) -> None:
    way = _SlowWay(server, 0.2)
    listener = await asyncio.start_server(way.connect, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, RedisCounters(url, 0.1, connect_timeout=5.0) as counters:

        async def fails_for_slowness() -> bool:
            with pytest.raises(StoreUnavailable) as failure:
                await counters.decide(DOMAIN, [question()])
            return "later than calls wait" in failure.value.reason

        await until(fails_for_slowness)
        # None was sent that would not be waited for.
        assert counters.doubts == 0
        way.seconds = 0
        await until(lambda: healthy(counters))
        assert (await counters.decide(DOMAIN, [question(limit=5)])).decisions[0].remaining == 4
