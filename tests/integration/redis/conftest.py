"""A Redis for the tests of this folder that leave it running."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.support.redis import RedisServer, redis_server
from tests.support.redis_counters import serving
from waypost.adapters.redis_counters import RedisCounters


@pytest.fixture(scope="session")
def session_server() -> Iterator[RedisServer]:
    """The session's server."""
    with redis_server() as server:
        yield server


@pytest.fixture
def server(session_server: RedisServer) -> RedisServer:
    """The session's server, empty."""
    session_server.execute("FLUSHALL")
    return session_server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A plain client of it."""
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        yield client


@pytest.fixture
async def counters(server: RedisServer) -> AsyncIterator[RedisCounters]:
    """A store that is connected to it; its deadline is long, for a machine that does much at once."""
    async with serving(server.unix_url) as counters:
        yield counters
