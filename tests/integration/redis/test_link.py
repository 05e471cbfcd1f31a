"""The shared connection, when it is dropped while calls come in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from redis.asyncio.connection import Connection

from tests.support.redis import RedisServer
from waypost.adapters.redis_link import Link


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
