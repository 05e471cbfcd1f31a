"""Lists of links from PostgreSQL: page by page they are what the contract says, whatever way they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from tests.support.list_filters import FILTERS, NOW, ORDERS, belongs
from tests.support.many_links import WORKSPACES, fill
from tests.support.postgres import Database, Server, run
from waypost.adapters import link_list_pieces, link_lists
from waypost.adapters.postgres_links import PostgresStorage
from waypost.listing import Cursor, ListQuery, Order, OrderField
from waypost.model import DEFAULT_WORKSPACE, Link

LINKS = 3_000
SCANNED = 300
SMALL = 150
ROUNDS = 2
"""Instead of the true limits, so that a few thousand links are many."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def filled(postgres: Server) -> Iterator[Database]:
    """A database with many links."""
    database = postgres.make_database()

    async def work() -> None:
        connection = await asyncpg.connect(database.url())
        try:
            await fill(connection, LINKS)
        finally:
            await connection.close()

    run(work())
    yield database


@pytest.fixture
def database(filled: Database) -> Database:
    return filled


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (link_lists, link_list_pieces):
        monkeypatch.setattr(module, "MAX_SCANNED", SCANNED)
    monkeypatch.setattr(link_list_pieces, "SMALL", SMALL)
    monkeypatch.setattr(link_list_pieces, "JOINED", 2 * SMALL)
    monkeypatch.setattr(link_list_pieces, "NEAR", SMALL // 3)
    monkeypatch.setattr(link_lists, "MAX_ROUNDS", ROUNDS)


_LINKS: list[tuple[int, Link]] = []


@pytest.fixture
async def links(storage: PostgresStorage, owner: asyncpg.Connection) -> list[tuple[int, Link]]:
    """All links of the first workspace with their ids."""
    if not _LINKS:
        rows = await owner.fetch("SELECT id, short_code FROM links WHERE workspace_id = $1", WORKSPACES[0])
        for row in rows:
            link = await storage.get_link(DEFAULT_WORKSPACE, row["short_code"])
            assert link is not None
            _LINKS.append((row["id"], link))
    return _LINKS


def key_of(order: Order, row_id: int, link: Link) -> tuple[object, int]:
    return {
        OrderField.CREATED_AT: link.created_at,
        OrderField.UPDATED_AT: link.updated_at,
        OrderField.SHORT_CODE: link.short_code,
    }[order.field], row_id


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("name", FILTERS)
async def test_all_pages_together_are_the_list(
    storage: PostgresStorage, links: list[tuple[int, Link]], name: str, order: Order
) -> None:
    expected = sorted(
        ((row_id, link) for row_id, link in links if belongs(link, FILTERS[name])),
        key=lambda pair: key_of(order, *pair),
        reverse=order.descending,
    )
    query = ListQuery(FILTERS[name], order, size=100)
    found: list[Link] = []
    pages = 0
    while True:
        page = await storage.list_links(WORKSPACES[0], query, NOW)
        found += page.links
        pages += 1
        assert len(page.links) <= query.size
        if page.next is None:
            break
        assert pages <= len(expected) / query.size + LINKS / SCANNED + 1, "few pages are not full"
        query = replace(query, after=page.next)
    assert found == [link for _, link in expected]


@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_no_page_tells_of_other_workspaces(storage: PostgresStorage, order: Order) -> None:
    for workspace in WORKSPACES:
        page = await storage.list_links(workspace, ListQuery(FILTERS["word-frequent"], order), NOW)
        assert {link.workspace_id for link in page.links} == {workspace}


async def test_links_made_at_the_same_time_are_told_apart(storage: PostgresStorage) -> None:
    query = ListQuery(size=1)
    codes = []
    for _ in range(30):
        page = await storage.list_links(WORKSPACES[0], query, NOW)
        codes += [link.short_code for link in page.links]
        assert page.next is not None
        query = replace(query, after=page.next)
    assert len(set(codes)) == 30
    assert codes == [
        link.short_code for link in (await storage.list_links(WORKSPACES[0], ListQuery(size=30), NOW)).links
    ]


async def test_a_cursor_beyond_the_end_is_an_empty_page(storage: PostgresStorage) -> None:
    for order in ORDERS:
        key = (
            {False: "~", True: "!"}[order.descending]
            if order.field is OrderField.SHORT_CODE
            else (NOW - timedelta(days=9999) if order.descending else NOW + timedelta(days=9999))
        )
        page = await storage.list_links(WORKSPACES[0], ListQuery(order=order, after=Cursor(key, 1)), NOW)
        assert (page.links, page.next) == ((), None)


async def test_a_page_of_long_links_ends_early(storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_lists, "MAX_PAGE_BYTES", 1000)
    page = await storage.list_links(WORKSPACES[0], ListQuery(size=500), NOW)
    assert 0 < len(page.links) < 50
    assert page.next is not None
