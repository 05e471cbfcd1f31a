"""How a cluster's nodes are found."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest
from redis.exceptions import MovedError

from tests.support.ports import free_port
from tests.support.redis import SLOTS, RedisServer, redis_server
from tests.support.redis_counters import DOMAIN, question
from tests.support.waiting import until
from waypost.adapters import redis_servers
from waypost.adapters.redis_counters import RedisCounters
from waypost.adapters.redis_link import Link
from waypost.adapters.redis_servers import Servers, servers_at
from waypost.adapters.redis_url import parse_redis_url
from waypost.errors import StoreUnavailable


class _Name:
    """An address that leads to one server after another, as a name does."""

    def __init__(self) -> None:
        self.server: RedisServer | None = None

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.server is not None
        try:
            answers, questions = await asyncio.open_unix_connection(self.server.socket)
            with contextlib.closing(questions):
                await asyncio.gather(self._carry(reader, questions), self._carry(answers, writer))
        except OSError:
            pass
        finally:
            writer.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()


def cluster_of_one() -> contextlib.AbstractContextManager[RedisServer]:
    return redis_server({"cluster-enabled": "yes", "cluster-port": str(free_port())})


async def test_a_cluster_that_moved_as_a_whole_is_found_where_it_was_named() -> None:
    name = _Name()
    listener = await asyncio.start_server(name.connect, "127.0.0.1", 0)
    url = f"redis+cluster://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, RedisCounters(url, 1.0) as counters:

        async def decides() -> bool:
            try:
                return (await counters.decide(DOMAIN, [question()])).admitted
            except StoreUnavailable:
                return False

        for _ in range(2):
            with cluster_of_one() as server:
                name.server = server
                server.execute("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
                await until(decides)


async def test_it_ends_though_the_map_of_slots_is_called_stale_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_servers, "LOOK_SECONDS", 0)
    with cluster_of_one() as server:
        server.execute("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        address = parse_redis_url(f"redis+cluster://127.0.0.1:{server.port}")
        servers = servers_at(address, partial(Link, connect_timeout=5.0, capacity=10), 5.0)
        running = asyncio.create_task(servers.run())
        # It has read the map, and waits for it to become stale.
        await until(lambda: has_links(servers))
        servers.redirected(MovedError(f"0 127.0.0.1:{server.port}"))
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=10)
        running.cancel()
        assert done


def has_links(servers: Servers) -> bool:
    try:
        return bool(list(servers.links()))
    except StoreUnavailable:
        return False
