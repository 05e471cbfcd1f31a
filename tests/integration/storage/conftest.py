"""What the tests of the storage adapters share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.postgres import Database
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage

PUBLIC_URL = "https://way.example"


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the superuser."""
    connection = await asyncpg.connect(database.url())
    yield connection
    await connection.close()


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Postgres]:
    """The API's pool."""
    async with Postgres(database.url("waypost_api"), max_size=4) as pool:
        yield pool


@pytest.fixture
async def sweeper(database: Database) -> AsyncIterator[Postgres]:
    """The scheduled jobs' pool."""
    async with Postgres(database.url("waypost_sweeper"), max_size=4) as pool:
        yield pool


@pytest.fixture
async def operators(database: Database) -> AsyncIterator[Postgres]:
    """The operators' pool."""
    async with Postgres(database.url("waypost_operator"), max_size=4) as pool:
        yield pool


@pytest.fixture
def storage(api: Postgres) -> PostgresStorage:
    return PostgresStorage(api, PUBLIC_URL)
