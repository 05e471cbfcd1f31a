"""Fixtures that more than one package of tests uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Database, Server, running_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The session's PostgreSQL; `postgres.make_database()` gives a fresh, migrated database."""
    with running_server() as server:
        yield server


@pytest.fixture
def database(postgres: Server) -> Database:
    """A fresh, migrated database."""
    return postgres.make_database()
