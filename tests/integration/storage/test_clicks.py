"""Numbers of clicks in PostgreSQL: exact however many ask at once, and only for links that are followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.links import new_link, store
from tests.support.postgres import Database
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_redirects import PostgresRedirectReader
from waypost.model import DEFAULT_WORKSPACE, LinkState
from waypost.ports import Storage


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[PostgresRedirectReader]:
    async with Postgres(database.url("waypost_redirect"), max_size=20) as pool:
        yield PostgresRedirectReader(pool)


@pytest.mark.parametrize("number", [1, 7, 49])
async def test_as_many_clicks_as_there_are_and_not_one_more(
    storage: Storage, reader: PostgresRedirectReader, number: int
) -> None:
    await store(storage, new_link(max_clicks=number))
    taken = await asyncio.gather(*[reader.use_click("abc1234") for _ in range(50)])
    assert sum(redirect is not None for redirect in taken) == number
    link = await storage.get_link(DEFAULT_WORKSPACE, "abc1234")
    assert link is not None
    assert (link.clicks_used, link.version) == (number, 1)
    assert link.state(datetime.now(UTC)) is LinkState.EXHAUSTED


async def test_a_click_brings_what_the_link_is_then(storage: Storage, reader: PostgresRedirectReader) -> None:
    await store(storage, new_link("abc1234", "https://example.org/a", max_clicks=2, redirect_status=307))
    taken = await reader.use_click("abc1234")
    assert taken is not None
    assert (taken.url, taken.redirect_status, taken.limited, taken.exhausted) == (
        "https://example.org/a",
        307,
        True,
        False,
    )
    before = await reader.read_redirect("abc1234")
    assert before is not None
    assert not before.exhausted
    assert await reader.use_click("abc1234") is not None
    after = await reader.read_redirect("abc1234")
    assert after is not None
    assert after.exhausted
    assert await reader.use_click("abc1234") is None


async def test_links_without_a_number_have_no_clicks_to_take(storage: Storage, reader: PostgresRedirectReader) -> None:
    await store(storage, new_link())
    assert await reader.use_click("abc1234") is None
    assert await reader.use_click("nothing") is None
    assert await reader.use_click("\0") is None
    found = await reader.read_redirect("abc1234")
    assert found is not None
    assert not found.limited


@pytest.mark.parametrize(
    "change", ["deleted_at = now()", "blocked_at = now()", "warned_at = now()", "expires_at = now() - interval '1 s'"]
)
async def test_a_link_that_is_not_followed_keeps_its_clicks(
    storage: Storage, reader: PostgresRedirectReader, owner: asyncpg.Connection, change: str
) -> None:
    await store(storage, new_link(max_clicks=3))
    await owner.execute(f"UPDATE links SET {change}")  # noqa: S608
    assert await reader.use_click("abc1234") is None
    link = await storage.get_link(DEFAULT_WORKSPACE, "abc1234")
    assert link is not None
    assert link.clicks_used == 0


async def test_the_number_can_be_raised_lowered_and_taken_away(
    storage: Storage, reader: PostgresRedirectReader
) -> None:
    link = await store(storage, new_link(max_clicks=1))

    async def set_number(number: int) -> None:
        nonlocal link
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            link = await work.links.update(link, replace(link, max_clicks=number))
            await work.commit()

    assert await reader.use_click("abc1234") is not None
    assert await reader.use_click("abc1234") is None
    await set_number(2)
    assert link.clicks_used == 1, "what is used stays used"
    assert await reader.use_click("abc1234") is not None
    await set_number(1)
    assert await reader.use_click("abc1234") is None
    await set_number(0)
    found = await reader.read_redirect("abc1234")
    assert found is not None
    assert (found.limited, found.exhausted) == (False, False)


async def test_the_state_of_what_has_expired_and_is_used_up_is_expired(storage: Storage) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    link = await store(storage, new_link(max_clicks=1, expires_at=soon))
    used = replace(link, clicks_used=1)
    assert used.state(soon - timedelta(seconds=1)) is LinkState.EXHAUSTED
    assert used.state(soon) is LinkState.EXPIRED
    assert replace(used, blocked=True).state(soon) is LinkState.BLOCKED
    assert replace(used, blocked=True, deleted_at=soon).state(soon) is LinkState.DELETED
    assert replace(link, warned=True).state(soon - timedelta(seconds=1)) is LinkState.WARNED
