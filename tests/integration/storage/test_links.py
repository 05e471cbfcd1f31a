"""Links in PostgreSQL: units of work, codes, versions, the redirect's read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.support.links import new_link, store
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresRedirectReader, PostgresStorage
from waypost.adapters.queries import QUERIES
from waypost.errors import DependencyUnavailable
from waypost.model import DestinationFlag, LinkState
from waypost.ports import Storage


async def test_a_stored_link_is_read_back_as_it_was_given(storage: Storage) -> None:
    url = "https://xn--mnchen-3ya.example/%7Ea/../b?q=ä%20&x#f"
    expires = datetime.now(UTC) + timedelta(days=1, microseconds=7)
    given = new_link("aB-_9xY", url, flags=(DestinationFlag.SHORTENER,), expires_at=expires, redirect_status=308)
    stored = await store(storage, given)
    assert stored == await storage.get_link("aB-_9xY")
    assert stored.destination == given.destination
    assert (stored.expires_at, stored.redirect_status, stored.version) == (expires, 308, 1)
    assert stored.created_at == stored.updated_at
    assert stored.created_at.tzinfo is not None
    assert stored.state(datetime.now(UTC)) is LinkState.ACTIVE


async def test_without_commit_nothing_happened(storage: Storage) -> None:
    async with storage.unit_of_work() as work:
        assert await work.links.add(new_link()) is not None
        assert await work.links.get("abc1234") is not None
    assert await storage.get_link("abc1234") is None


async def test_an_error_inside_undoes_and_passes_through(storage: Storage, api: Postgres) -> None:
    with pytest.raises(ZeroDivisionError):
        async with storage.unit_of_work() as work:
            await work.links.add(new_link())
            raise ZeroDivisionError
    assert await storage.get_link("abc1234") is None
    assert (api.in_use, api.idle) == (0, 1)


async def test_codes_are_unique_without_case_and_found_exactly(storage: Storage) -> None:
    await store(storage, new_link("Abc1234"))
    async with storage.unit_of_work() as work:
        assert await work.links.add(new_link("aBC1234")) is None
        assert await work.links.add(new_link("other12")) is not None, "the transaction goes on after a taken code"
        await work.commit()
    assert await storage.get_link("abc1234") is None
    assert await storage.get_link("Abc1234") is not None
    assert await storage.get_link("other12") is not None


async def test_letters_outside_ascii_never_match(storage: Storage) -> None:
    await store(storage, new_link("Kelvin1"))
    assert await storage.get_link("\N{KELVIN SIGN}elvin1") is None


@pytest.mark.parametrize("code", ["", "\0", "abc\ud800", "ä" * 7, "x" * 500])
async def test_what_is_no_code_is_not_found(storage: Storage, api: Postgres, code: str) -> None:
    assert await storage.get_link(code) is None
    assert await PostgresRedirectReader(api).read_redirect(code) is None
    async with storage.unit_of_work() as work:
        assert await work.links.get(code) is None
        assert await work.links.delete(code) is None


async def test_looking_a_code_up_uses_the_index(owner: asyncpg.Connection) -> None:
    await owner.execute("SET enable_seqscan = off")
    for name in ("get_link", "read_redirect", "delete_link"):
        await owner.execute(f"PREPARE look_{name} (text) AS {QUERIES[name]}")
        plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN EXECUTE look_{name} ('abc1234')"))
        assert "links_code_key" in plan, name


async def test_rivals_for_one_code_get_one_winner(storage: Storage) -> None:
    async def rival(code: str) -> bool:
        async with storage.unit_of_work() as work:
            won = await work.links.add(new_link(code)) is not None
            await work.commit()
            return won

    assert sorted(await asyncio.gather(rival("taken12"), rival("TAKEN12"), rival("Taken12"))) == [False, False, True]


async def test_delete_is_done_once_and_the_code_stays_taken(storage: Storage) -> None:
    await store(storage, new_link())
    async with storage.unit_of_work() as work:
        first = await work.links.delete("abc1234")
        second = await work.links.delete("abc1234")
        missing = await work.links.delete("ABC1234")
        await work.commit()
    assert first is not None
    assert second is not None
    assert missing is None
    (link, done), (again, done_again) = first, second
    assert (done, done_again) == (True, False)
    assert link == again
    assert (link.version, link.state(datetime.now(UTC))) == (2, LinkState.DELETED)
    assert link.updated_at > link.created_at
    async with storage.unit_of_work() as work:
        assert await work.links.add(new_link()) is None


async def test_two_that_delete_at_once_do_it_once(storage: Storage) -> None:
    await store(storage, new_link())

    async def delete() -> bool:
        async with storage.unit_of_work() as work:
            found = await work.links.delete("abc1234")
            await work.commit()
            assert found is not None
            return found[1]

    assert sorted(await asyncio.gather(delete(), delete(), delete())) == [False, False, True]
    link = await storage.get_link("abc1234")
    assert link is not None
    assert link.version == 2


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
    link = await storage.get_link("abc1234")
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
            async with storage.unit_of_work() as work:
                await work.links.add(new_link())
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
        assert await storage.get_link("abc1234") is not None
        assert api.idle == 1, "the connection was not lost"
    finally:
        await blocker.close()


async def test_commit_of_a_failed_transaction_is_no_success(storage: PostgresStorage, api: Postgres) -> None:
    with pytest.raises(DependencyUnavailable):
        async with storage.unit_of_work() as work:
            await work.links.add(new_link())
            with pytest.raises(asyncpg.PostgresError):
                await work._session.execute("SELECT 1/0")
            await work.commit()
    assert await storage.get_link("abc1234") is None
    assert api.in_use == 0


async def test_a_unit_of_work_ends_once(storage: Storage) -> None:
    async with storage.unit_of_work() as work:
        await work.commit()
        with pytest.raises(RuntimeError):
            await work.commit()
