"""Memory stays where it is, however many calls and connections come and go."""

from __future__ import annotations

import pytest

from tests.integration.h2.driver import driver
from tests.integration.h2.echo import SANITIZERS, Echo, echo
from tests.integration.h2.wire import wire
from tests.support.waiting import until

MEGABYTE = 1 << 20
INITIAL_WINDOW_SIZE = 4


def many_calls(server: Echo, calls: int) -> None:
    """So many calls, four in five compiled, on a few connections one after the other."""
    for path, share in (("/test.Echo/Compiled", calls * 4 // 5), ("/test.Echo/Up", calls // 5)):
        with driver(server.port, path) as connection:
            connection.ask(share)


def many_connections(server: Echo, connections: int) -> None:
    """So many connections with two calls each, closed in either way, ten at a time."""
    for _ in range(connections // 10):
        paths = ["/test.Echo/Compiled", "/test.Echo/Up"] * 5
        opened = [driver(server.port, path, rudely=index % 3 == 0) for index, path in enumerate(paths)]
        for one in opened:
            with one as connection:
                connection.ask(2, b"x" * 3000)


async def growth(server: Echo, calls: int, connections: int) -> tuple[int, int]:
    """Bytes in memory after a start, and after so many more."""
    many_calls(server, 40_000)
    many_connections(server, 1000)
    await until(lambda: server.stats()["connections"] == 0)
    before = server.memory()
    many_calls(server, calls)
    many_connections(server, connections)
    await until(lambda: server.stats()["connections"] == 0)
    await until(lambda: server.stats()["waiting_bytes"] == 0)
    stats = server.stats()
    assert stats["in_flight"] == 0
    assert stats["compiled"] + stats["up"] == 40_000 + calls + 2 * (1000 + connections)
    return before, server.memory()


async def kept_after(server: Echo, calls: int, content: bytes) -> int:
    """Bytes that more is allocated once so many calls, which were there at a time, have gone."""
    before = server.stats()["allocated"]
    # None of them can be answered, for want of window.
    async with wire(server.port, (INITIAL_WINDOW_SIZE, 0)) as connection:
        for _ in range(calls):
            connection.call(content, path="/test.Echo/Compiled")
        await until(lambda: server.stats()["compiled"] == calls)
    await until(lambda: server.stats()["connections"] == 0)
    return server.stats()["allocated"] - before


@pytest.mark.skipif(bool(SANITIZERS), reason="with sanitizers no call is used for another")
async def test_a_few_calls_are_kept_for_others() -> None:
    with echo(max_streams=10_000) as server:
        assert await kept_after(server, 6000, b"x") < 2 * MEGABYTE


@pytest.mark.skipif(bool(SANITIZERS), reason="with sanitizers no call is used for another")
async def test_what_large_calls_needed_is_not_kept() -> None:
    with echo() as server:
        assert await kept_after(server, 200, bytes(60_000)) < 2 * MEGABYTE


@pytest.mark.skipif(bool(SANITIZERS), reason="sanitizers have more around what is allocated")
async def test_what_came_with_a_call_that_is_not_grpc_does_not_wait_for_its_answer() -> None:
    with echo(max_streams=1000) as server:
        before = server.stats()["allocated"]
        async with wire(server.port, (INITIAL_WINDOW_SIZE, 0)) as connection:
            for _ in range(200):
                connection.head(("x-large", "x" * 6000), content_type="text/html")
            await until(lambda: server.stats()["refused"] == 200)
            held = server.stats()["allocated"] - before
    assert held < 200 * 6000 // 2


@pytest.mark.skipif(bool(SANITIZERS), reason="sanitizers keep what was freed")
async def test_memory_stays_flat() -> None:
    with echo(threads=2) as server:
        before, after = await growth(server, 200_000, 2000)
    assert after - before < MEGABYTE, f"from {before} to {after} bytes"


@pytest.mark.nightly
@pytest.mark.timeout(1200)
async def test_memory_stays_flat_for_long() -> None:
    with echo(threads=2) as server:
        before, after = await growth(server, 10_000_000, 100_000)
    print(f"resident before {before}, after {after} bytes")
    assert after - before < MEGABYTE, f"from {before} to {after} bytes"
