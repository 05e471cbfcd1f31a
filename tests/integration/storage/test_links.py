"""Links in PostgreSQL: units of work, codes, versions, the redirect's read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.links import add, new_link, store
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage
from waypost.adapters.postgres_redirects import PostgresRedirectReader
from waypost.errors import DependencyUnavailable
from waypost.model import DEFAULT_WORKSPACE, Destination, DestinationFlag, LinkState
from waypost.ports import Storage


async def test_a_stored_link_is_read_back_as_it_was_given(storage: Storage) -> None:
    url = "https://xn--mnchen-3ya.example/%7Ea/../b?q=ä%20&x#f"
    expires = datetime.now(UTC) + timedelta(days=1, microseconds=7)
    given = new_link("aB-_9xY", url, flags=(DestinationFlag.SHORTENER,), expires_at=expires, redirect_status=308)
    stored = await store(storage, given)
    assert stored == await storage.get_link(DEFAULT_WORKSPACE, "aB-_9xY")
    assert stored.destination == given.destination
    assert (stored.expires_at, stored.redirect_status, stored.version) == (expires, 308, 1)
    assert stored.created_at == stored.updated_at
    assert stored.created_at.tzinfo is not None
    assert stored.state(datetime.now(UTC)) is LinkState.ACTIVE


async def test_without_commit_nothing_happened(storage: Storage) -> None:
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        assert await add(work.links, new_link()) is not None
        assert await work.links.lock("abc1234") is not None
    assert await storage.get_link(DEFAULT_WORKSPACE, "abc1234") is None


async def test_an_error_inside_undoes_and_passes_through(storage: Storage, api: Postgres) -> None:
    with pytest.raises(ZeroDivisionError):
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            await add(work.links, new_link())
            raise ZeroDivisionError
    assert await storage.get_link(DEFAULT_WORKSPACE, "abc1234") is None
    await until(lambda: api.in_use == 0)
    assert api.idle == 1, "the connection was not lost"


async def test_codes_are_unique_without_case_and_found_exactly(storage: Storage) -> None:
    await store(storage, new_link("Abc1234"))
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        assert await add(work.links, new_link("aBC1234")) is None
        assert await add(work.links, new_link("other12")) is not None, "the transaction goes on after a taken code"
        await work.commit()
    assert await storage.get_link(DEFAULT_WORKSPACE, "abc1234") is None
    assert await storage.get_link(DEFAULT_WORKSPACE, "Abc1234") is not None
    assert await storage.get_link(DEFAULT_WORKSPACE, "other12") is not None


async def test_letters_outside_ascii_never_match(storage: Storage) -> None:
    await store(storage, new_link("Kelvin1"))
    assert await storage.get_link(DEFAULT_WORKSPACE, "\N{KELVIN SIGN}elvin1") is None


@pytest.mark.parametrize("code", ["", "\0", "abc\ud800", "ä" * 7, "x" * 500])
async def test_what_is_no_code_is_not_found(storage: Storage, api: Postgres, code: str) -> None:
    assert await storage.get_link(DEFAULT_WORKSPACE, code) is None
    assert await PostgresRedirectReader(api).read_redirect(code) is None
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        assert await work.links.lock(code) is None


async def test_rivals_for_one_code_get_one_winner(storage: Storage) -> None:
    async def rival(code: str) -> bool:
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            won = await add(work.links, new_link(code)) is not None
            await work.commit()
            return won

    assert sorted(await asyncio.gather(rival("taken12"), rival("TAKEN12"), rival("Taken12"))) == [False, False, True]


async def test_a_deleted_link_keeps_its_code_and_can_come_back(storage: Storage) -> None:
    given = await store(storage, new_link())
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        assert await work.links.lock("ABC1234") is None
        link = await work.links.lock("abc1234")
        assert link == given
        deleted = await work.links.set_deleted(link, deleted=True)
        await work.commit()
    assert (deleted.version, deleted.state(datetime.now(UTC))) == (2, LinkState.DELETED)
    assert deleted.updated_at > deleted.created_at
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        assert await add(work.links, new_link()) is None
        back = await work.links.set_deleted(deleted, deleted=False)
        await work.commit()
    assert back == replace(given, version=3, updated_at=back.updated_at)


async def test_a_locked_link_waits_for_nobody_else(storage: Storage) -> None:
    await store(storage, new_link())
    order: list[str] = []

    async def change(name: str) -> None:
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            link = await work.links.lock("abc1234")
            assert link is not None
            order.append(f"{name} reads {link.title}")
            await work.links.update(link, replace(link, title=link.title + name))
            await work.commit()

    await asyncio.gather(change("a"), change("b"), change("c"))
    link = await storage.get_link(DEFAULT_WORKSPACE, "abc1234")
    assert link is not None
    assert sorted(link.title) == ["a", "b", "c"]
    assert [len(line) for line in order] == [8, 9, 10], "each saw what the one before had written"
    assert link.version == 4


async def test_everything_an_owner_may_change_is_changed(storage: Storage) -> None:
    given = await store(storage, new_link(tags=("a", "b"), title="Old"))
    wanted = replace(
        given,
        destination=Destination("https://example.net/new", (DestinationFlag.SHORTENER,)),
        title="Ünïcode 👋",
        tags=("b", 'with "quotes" {and} \\', "null"),
        expires_at=datetime.now(UTC) + timedelta(days=1),
        max_clicks=7,
        redirect_status=308,
        forward_query=True,
    )
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        changed = await work.links.update(given, wanted)
        await work.commit()
    assert changed == replace(wanted, version=2, updated_at=changed.updated_at)
    assert await storage.get_link(DEFAULT_WORKSPACE, "abc1234") == changed
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        cleared = await work.links.update(
            changed, replace(changed, title="", tags=(), expires_at=None, max_clicks=0, forward_query=False)
        )
        await work.commit()
    assert (cleared.title, cleared.tags, cleared.expires_at, cleared.max_clicks) == ("", (), None, 0)


async def test_many_are_stored_in_order_each_or_not(storage: Storage) -> None:
    await store(storage, new_link("taken12"))
    given = [
        new_link("first12", "https://example.org/1", title="One, two", tags=("x", "ein Tag")),
        new_link("TAKEN12"),
        new_link("twice12", "https://example.org/2", title="first of two"),
        new_link("twice12", "https://example.org/3", title="second of two"),
        new_link("Twice12", "https://example.org/4"),
        new_link("last123", "https://example.org/5", flags=(DestinationFlag.SHORTENER, DestinationFlag.IP_ADDRESS)),
    ]
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        stored = await work.links.add_all(given)
        await work.commit()
    assert [link.destination.url if link else None for link in stored] == [
        "https://example.org/1",
        None,
        "https://example.org/2",
        None,
        None,
        "https://example.org/5",
    ]
    assert stored[0] is not None
    assert (stored[0].title, stored[0].tags) == ("One, two", ("x", "ein Tag"))
    assert stored[5] is not None
    assert stored[5].destination == given[5].destination
    for link in filter(None, stored):
        assert await storage.get_link(DEFAULT_WORKSPACE, link.short_code) == link


async def test_rivals_that_store_many_do_not_wait_in_a_circle(storage: Storage) -> None:
    codes = [f"code{number:04}" for number in range(200)]

    async def rival(order: list[str]) -> int:
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            stored = await work.links.add_all([new_link(code) for code in order])
            await work.commit()
        return sum(link is not None for link in stored)

    made = await asyncio.gather(rival(codes), rival(codes[::-1]), rival(codes[100:] + codes[:100]))
    assert sorted(made) == [0, 0, 200]


async def test_terms_follow_the_link(storage: Storage, owner: asyncpg.Connection) -> None:
    async def terms() -> set[str]:
        return {row["term"] for row in await owner.fetch("SELECT term FROM link_terms")}

    given = await store(storage, new_link("spring", "https://example.org/sale", title="Spring sale", tags=("news",)))
    assert await terms() == {"#news", "=spring", "=sale", "=example.org", "=example", "=org"} & await terms() | {
        "#news",
        "=spring",
        "=sale",
        "=example",
    }
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        await work.links.update(given, replace(given, title="Summer sale", tags=("old",)))
        await work.commit()
    after = await terms()
    assert {"#old", "=summer", "=spring", "=sale"} <= after
    assert "#news" not in after


async def test_redirects_see_links_in_every_state(
    database: Database, storage: Storage, owner: asyncpg.Connection
) -> None:
    expires = datetime.now(UTC) + timedelta(hours=1)
    await store(storage, new_link("plain12", "https://example.org/a", expires_at=expires, redirect_status=301))
    await store(storage, new_link("blocked"))
    await owner.execute("UPDATE links SET blocked_at = now() WHERE short_code = 'blocked'")
    async with Postgres(database.url("waypost_redirect")) as pool:
        reader = PostgresRedirectReader(pool)
        plain = await reader.read_redirect("plain12")
        blocked = await reader.read_redirect("blocked")
        assert await reader.read_redirect("nothing") is None
    assert plain is not None
    assert (plain.url, plain.redirect_status) == ("https://example.org/a", 301)
    assert (plain.version, plain.expires_at) == (1, expires)
    assert (plain.blocked, plain.deleted) == (False, False)
    assert blocked is not None
    assert blocked.state(datetime.now(UTC)) is LinkState.BLOCKED


async def test_what_names_a_link_never_changes(storage: Storage, owner: asyncpg.Connection) -> None:
    await store(storage, new_link())
    for change in ("short_code = 'other12'", "workspace_id = gen_random_uuid()", "created_at = '2001-01-01'"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await owner.execute(f"UPDATE links SET {change}")  # noqa: S608
    await owner.execute("UPDATE links SET version = 40, updated_at = '2001-01-01'")
    link = await storage.get_link(DEFAULT_WORKSPACE, "abc1234")
    assert link is not None
    assert link.version == 2, "the trigger alone counts"
    assert link.updated_at > link.created_at


@pytest.mark.parametrize(
    "change",
    [
        "short_code = 'ab'",
        "short_code = 'a b c'",
        "original_url = ''",
        f"original_url = '{'x' * 8705}'",
        "redirect_status = 303",
        "expires_at = '9999-06-01'",
        "expires_at = 'infinity'",
        f"title = '{'x' * 257}'",
        "tags = array_fill('x'::text, ARRAY[21])",
        "max_clicks = 0",
        "max_clicks = 1000000001",
    ],
)
async def test_the_database_refuses_what_no_link_may_be(owner: asyncpg.Connection, change: str) -> None:
    column, value = change.split(" = ", 1)
    columns = {"short_code": "'abc1234'", "original_url": "'https://example.org/'", "redirect_status": "302"}
    columns[column] = value
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(
            f"INSERT INTO links (workspace_id, {', '.join(columns)}) "  # noqa: S608
            f"VALUES ('00000000-0000-0000-0000-000000000001', {', '.join(columns.values())})"
        )


async def test_a_commit_goes_on_when_its_caller_is_gone(
    database: Database, storage: PostgresStorage, api: Postgres
) -> None:
    committing = asyncio.Event()
    blocker = await asyncpg.connect(database.url())
    try:
        # A deferred trigger makes the commit wait for a lock that we hold.
        await blocker.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
            "$$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;"
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON links DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION slow();"
            "SELECT pg_advisory_lock(7)"
        )

        async def create() -> None:
            async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
                await add(work.links, new_link())
                committing.set()
                await work.commit()

        task = asyncio.create_task(create())
        await committing.wait()

        async def waits() -> bool:
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return bool(await blocker.fetchval(locks))

        await until(waits)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert api.in_use == 1, "the connection is kept until the commit is done"
        await blocker.execute("SELECT pg_advisory_unlock(7)")
        await until(lambda: api.in_use == 0)
        assert api.idle == 1, "the connection was not lost"
        assert await storage.get_link(DEFAULT_WORKSPACE, "abc1234") is not None
    finally:
        await blocker.close()


async def test_commit_of_a_failed_transaction_is_no_success(storage: PostgresStorage, api: Postgres) -> None:
    with pytest.raises(DependencyUnavailable):
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            await add(work.links, new_link())
            with pytest.raises(asyncpg.PostgresError):
                await work._session.execute("SELECT 1/0")
            await work.commit()
    assert await storage.get_link(DEFAULT_WORKSPACE, "abc1234") is None
    await until(lambda: api.in_use == 0)


async def test_a_unit_of_work_ends_once(storage: Storage) -> None:
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        await work.commit()
        with pytest.raises(RuntimeError):
            await work.commit()
