"""A server by the contract and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.link_server import LinkServer, serving
from waypost import Client


@pytest.fixture
def server() -> LinkServer:
    """The server that `client` talks to."""
    return LinkServer()


@pytest.fixture
async def client(server: LinkServer) -> AsyncIterator[Client]:
    """A client of `server`."""
    async with serving(server) as port, Client(f"127.0.0.1:{port}") as one:
        yield one
