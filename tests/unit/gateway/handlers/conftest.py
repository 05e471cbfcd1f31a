"""What the tests of LinkService's use cases share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.support.waiting import turn
from tests.unit.gateway.world import World


@dataclass
class Complaints:
    """What the event loop complains of."""

    messages: list[str] = field(default_factory=list)


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture(autouse=True)
async def complaints() -> AsyncIterator[Complaints]:
    """No test may leave an exception that nobody looked at."""
    found = Complaints()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.messages.append(str(context)))
    yield found
    await turn()
    assert found.messages == []
