"""Migrations: from nothing, from every release, again, at once, against locks, and never against a newer schema."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import Database, Server, run
from tests.support.waiting import until
from waypost.adapters import migrate as module
from waypost.adapters.migrate import (
    ChecksumChanged,
    Migration,
    MigrationTimedOut,
    SchemaTooNew,
    migrate,
    migrations,
    status,
)
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_links import PostgresStorage
from waypost.listing import LinkFilter, ListQuery
from waypost.model import DEFAULT_WORKSPACE

RELEASES = sorted(Path(__file__).with_name("releases").glob("*.sql"))
STEPS = migrations()
NEXT = f"{len(STEPS) + 1:04}_next"


@pytest.fixture
def empty(postgres: Server) -> Database:
    return postgres.make_database(empty=True)


def next_step(sql: str) -> list[Migration]:
    return [*STEPS, Migration(len(STEPS) + 1, "next", sql)]


async def query(database: Database, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.url())
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def test_from_nothing_then_nothing_to_do(empty: Database) -> None:
    assert [s.applied_at for s in await status(empty.url())] == [None] * len(STEPS)
    assert await migrate(empty.url()) == [step.id for step in STEPS]
    assert await migrate(empty.url()) == []
    assert all(s.applied_at is not None for s in await status(empty.url()))
    assert [row["id"] for row in await query(empty, "SELECT id FROM workspaces")] == [DEFAULT_WORKSPACE]


async def test_migrators_at_once_apply_each_step_once(empty: Database) -> None:
    done = await asyncio.gather(*(migrate(empty.url()) for _ in range(3)))
    assert sorted(step for one in done for step in one) == [step.id for step in STEPS]


async def test_migrators_of_two_databases_at_once(postgres: Server) -> None:
    databases = [postgres.make_database(empty=True) for _ in range(3)]
    done = await asyncio.gather(*(migrate(database.url()) for database in databases))
    assert done == [[step.id for step in STEPS]] * 3


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
async def test_from_a_release_with_its_rows(empty: Database, release: Path) -> None:
    rows = release.read_text()
    match = re.match(r"-- migrations: (\d+)\n", rows)
    assert match is not None, "the first line says how many migrations the release had"
    count = int(match[1])
    await migrate(empty.url(), steps=STEPS[:count])
    connection = await asyncpg.connect(empty.url())
    try:
        await connection.execute(rows)
        tables = await connection.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
        names = [row["name"] for row in tables if row["name"] != "schema_migrations"]
        before = {name: await connection.fetch(f"SELECT * FROM {name}") for name in names}  # noqa: S608
        assert await migrate(empty.url()) == [step.id for step in STEPS[count:]]
        for table, old in before.items():
            columns = ", ".join(old[0].keys()) if old else "1"
            now = await connection.fetch(f"SELECT {columns} FROM {table}")  # noqa: S608
            assert sorted(map(repr, now)) == sorted(map(repr, old)), f"{table}: what was there is still there"
    finally:
        await connection.close()


async def test_links_of_the_release_before_lists_are_found_by_their_words(empty: Database) -> None:
    url = "https://www.Shop.Example/Annual-Report_2026/f%C3%BCr?secret=1#top"
    await migrate(empty.url(), steps=STEPS[:4])
    await query(
        empty,
        "INSERT INTO links (workspace_id, short_code, original_url, redirect_status) "  # noqa: S608
        f"VALUES ('{DEFAULT_WORKSPACE}', 'Spring-Sale', '{url}', 302)",
    )
    before = (await query(empty, "SELECT version, updated_at FROM links"))[0]
    await migrate(empty.url())
    terms = {row["term"] for row in await query(empty, "SELECT term FROM link_terms")}
    assert terms == {
        f"={word}" for word in ["spring", "sale", "shop", "example", "annual", "report", "2026", "f", "c3", "bcr"]
    }
    assert (await query(empty, "SELECT version, updated_at FROM links"))[0] == before
    async with Postgres(empty.url("waypost_api")) as pool:
        storage = PostgresStorage(pool, "https://way.example")
        found = LinkFilter(words=("annual", "sale"))
        page = await storage.list_links(DEFAULT_WORKSPACE, ListQuery(found), datetime.now(UTC))
        assert [link.short_code for link in page.links] == ["Spring-Sale"]
        # Its next change brings the words as they are made today, and none of the old ones stays.
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            link = await work.links.lock("Spring-Sale")
            assert link is not None
            await work.links.update(link, replace(link, title="New"))
            await work.commit()
    terms = {row["term"] for row in await query(empty, "SELECT term FROM link_terms")}
    assert terms == {
        f"={word}" for word in ["spring", "sale", "new", "shop", "example", "annual", "report", "2026", "für"]
    }


async def test_a_newer_schema_is_left_alone(empty: Database) -> None:
    await migrate(empty.url(), steps=next_step("SELECT 1"))
    for call in (migrate, status):
        with pytest.raises(SchemaTooNew, match="newer Waypost") as caught:
            await call(empty.url())
        assert caught.value.exit_code == 2


async def test_an_applied_file_must_not_change(empty: Database) -> None:
    await migrate(empty.url())
    changed = [*STEPS[:-1], Migration(STEPS[-1].version, STEPS[-1].name, STEPS[-1].sql + "\n")]
    with pytest.raises(ChecksumChanged, match=STEPS[-1].id):
        await migrate(empty.url(), steps=changed)


async def test_a_bad_migration_leaves_nothing_behind(empty: Database) -> None:
    await migrate(empty.url())
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty.url(), steps=next_step("CREATE TABLE half (id int); SELECT 1/0"))
    assert await query(empty, "SELECT 1 FROM pg_tables WHERE tablename = 'half'") == []
    assert await migrate(empty.url(), steps=next_step("CREATE TABLE half (id int)")) == [NEXT]


async def test_a_migration_waits_for_locks_without_holding_readers_up(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_MS", 50)
    await migrate(empty.url())
    holder = await asyncpg.connect(empty.url())
    reader = await asyncpg.connect(empty.url(), command_timeout=1)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("LOCK TABLE links IN ACCESS SHARE MODE")
        steps = next_step("ALTER TABLE links ADD COLUMN extra text")
        migrating = asyncio.create_task(migrate(empty.url(), steps=steps))
        tries = "SELECT 1 FROM pg_locks WHERE relation = 'links'::regclass AND mode = 'AccessExclusiveLock'"

        async def tried() -> bool:
            return bool(await holder.fetch(tries))

        await until(tried)
        await reader.fetch("SELECT * FROM links")  # behind the migration in the queue, and not for long
        assert not migrating.done()
        await transaction.rollback()
        assert await migrating == [NEXT]
    finally:
        await reader.close()
        await holder.close()


async def test_a_migration_that_gets_no_lock_gives_up(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_MS", 20)
    await migrate(empty.url())
    holder = await asyncpg.connect(empty.url())
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE links IN ACCESS SHARE MODE")
            with pytest.raises(MigrationTimedOut, match=NEXT):
                await migrate(empty.url(), steps=next_step("ALTER TABLE links ADD COLUMN extra text"), timeout=0.3)
    finally:
        await holder.close()


def test_files_are_numbered_without_gaps(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0003_b.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match="without gaps"):
        migrations(tmp_path)
    (tmp_path / "0003_b.sql").rename(tmp_path / "two.sql")
    with pytest.raises(ValueError, match=r"two\.sql"):
        migrations(tmp_path)


def test_everything_is_commented(postgres: Server) -> None:
    database = postgres.make_database()
    missing = run(
        query(
            database,
            """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped
          AND col_description(c.oid, a.attnum) IS NULL
        UNION ALL
        SELECT c.relname, NULL FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND obj_description(c.oid) IS NULL
        """,
        )
    )
    assert missing == []
