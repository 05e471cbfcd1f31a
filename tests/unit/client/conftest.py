"""Servers by the contract and clients of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.account_server import AccountServer
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


@pytest.fixture
def accounts() -> AccountServer:
    """The server that `member` talks to."""
    return AccountServer()


@pytest.fixture
async def member(accounts: AccountServer) -> AsyncIterator[Client]:
    """A client of `accounts` with a key."""
    async with serving(accounts) as port, Client(f"127.0.0.1:{port}", api_key="wp_me.secret") as one:
        yield one
