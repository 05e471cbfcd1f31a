"""Each caller gets its own reply or none, however often the connection is dropped under it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from redis.asyncio.connection import Connection

from tests.support.redis import RedisServer, redis_server
from waypost.adapters.redis_link import Link
from waypost.errors import StoreUnavailable

CALLERS = 32
CALLS = 300
DEADLINE = 0.01


async def _call(link: Link, caller: int) -> tuple[int, int]:
    """How many of a caller's calls were answered and how many failed; raises if one got another's reply."""
    answered = failed = 0
    loop = asyncio.get_running_loop()
    for number in range(CALLS):
        word = b"%d of %d" % (number, caller)
        try:
            reply = await link.execute(b"ECHO", word, deadline=loop.time() + DEADLINE)
        except StoreUnavailable:
            failed += 1
            await asyncio.sleep(0)
            continue
        assert reply == word
        answered += 1
    return answered, failed


async def _load(server: RedisServer) -> tuple[int, int, int]:
    """Answered, failed, and how many connections there were."""
    connections = 0

    async def connect() -> Connection:
        nonlocal connections
        connections += 1
        return Connection(host="127.0.0.1", port=server.port)

    link = Link(connect, connect_timeout=1.0, capacity=1000)
    running = asyncio.create_task(link.run())
    callers = [asyncio.create_task(_call(link, caller)) for caller in range(CALLERS)]
    everybody = asyncio.gather(*callers)
    try:
        while not everybody.done():
            # A little longer than the deadline: whatever is under way loses its connection, and the next is made while
            # calls that came in between still wait.
            await asyncio.to_thread(server.execute, "DEBUG", "SLEEP", "0.012")
            await asyncio.wait([everybody], timeout=0.02)
        counts = await everybody
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    return sum(a for a, _ in counts), sum(f for _, f in counts), connections


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_nobody_gets_anothers_reply(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    with redis_server({"enable-debug-command": "yes"}) as server:
        answered, failed, connections = run(_load(server))
    assert answered + failed == CALLERS * CALLS
    assert answered > 0
    assert failed > 0
    assert connections > 1
