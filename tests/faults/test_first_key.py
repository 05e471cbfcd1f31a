"""The first operator key and the pepper behind all keys: made once, shown once, and never lost half-way."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.credentials import headers_of
from tests.support.keys import PEPPER, add_key
from tests.support.mesh import Mesh, data_folder, running_mesh
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.access.identity import Role
from waypost.supervisor.data_dir import DataDir

TOLD = "waypost: first operator key "

pytestmark = pytest.mark.slow


@pytest.fixture
def other() -> Iterator[Path]:
    """A second data directory."""
    with data_folder() as folder:
        yield folder


def told(mesh: Mesh) -> list[str]:
    """The keys that it has shown, each with the file that it names."""
    lines = [line.removeprefix(TOLD) for line in mesh.out if line.startswith(TOLD)]
    assert all(line.endswith(f" (also in {DataDir(mesh.data).operator_key})") for line in lines)
    return [line.partition(" ")[0] for line in lines]


async def status(mesh: Mesh, key: str) -> int:
    """What a call that takes an operator is answered."""
    async with httpx.AsyncClient(base_url=mesh.http_url, headers=headers_of(key), trust_env=False) as client:
        return (await client.get("/api/v1/urls")).status_code


@contextlib.asynccontextmanager
async def owner_of(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


async def stored(dsn: str) -> list[str]:
    """The ids of all operator keys."""
    async with owner_of(dsn) as owner:
        return [row["id"] for row in await owner.fetch("SELECT id FROM api_keys WHERE role = 'operator'")]


async def refused(mesh: Mesh, *words: str) -> None:
    """It ends with exit code 2 and one line with these words, in which there is no key."""
    assert await mesh.ended() == 2
    (line,) = mesh.lines
    for word in ("waypost: ", *words):
        assert word in line
    assert "wp_" not in line
    await mesh.gone(10)


async def test_the_first_start_shows_a_key_and_no_other_ever_does(data: Path) -> None:
    async with running_mesh(data) as mesh:
        (key,) = told(mesh)
        assert key == mesh.operator_key
        assert stat.S_IMODE(DataDir(data).operator_key.stat().st_mode) == 0o600
        assert await status(mesh, key) == 200
        async with owner_of(mesh.owner_dsn()) as owner:
            rows = await owner.fetch("SELECT principal, object, details FROM audit_log WHERE action = 'key.create'")
        assert [(row["principal"], row["object"], row["details"]) for row in rows] == [
            ("system:up", key.removeprefix("wp_").partition(".")[0], '{"role": "operator"}')
        ]
    async with running_mesh(data, mesh.env) as second:
        assert told(second) == []
        assert second.operator_key == key
        assert await status(second, key) == 200
        assert len(await stored(second.owner_dsn())) == 1
    # Neither the key nor its secret is anywhere but where it is said to be.
    secret = key.partition(".")[2]
    for run in (mesh, second):
        assert secret not in str(run.events) + str(run.lines)
    found = [path.relative_to(data) for path in data.rglob("*") if path.is_file() and secret in text_of(path)]
    assert found == [Path("operator-key")]
    pepper = DataDir(data).key_pepper.read_text().strip()
    found = [path.relative_to(data) for path in data.rglob("*") if path.is_file() and pepper in text_of(path)]
    assert found == [Path("key-pepper")]


def text_of(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


async def test_a_start_that_is_killed_between_the_file_and_the_row_is_gone_on_with(
    data: Path, database: Database
) -> None:
    env = {"WAYPOST_DATABASE_URL": database.url()}
    async with owner_of(database.url()) as owner:
        async with owner.transaction():
            # Whether there is a key can be read; that there is one cannot be written.
            await owner.execute("LOCK TABLE api_keys IN EXCLUSIVE MODE")
            async with running_mesh(data, env, ready=False) as mesh:
                await until(DataDir(data).operator_key.exists, 30)
                waiting = "SELECT pid FROM pg_locks WHERE relation = 'api_keys'::regclass AND NOT granted"

                async def writes() -> bool:
                    return bool(await owner.fetch(waiting))

                await until(writes)
                mesh.process.kill()
                await mesh.gone()
                # What the dead one has asked for must not come after all.
                for row in await owner.fetch(waiting):
                    await owner.execute("SELECT pg_terminate_backend($1)", row["pid"])
        assert told(mesh) == []
        assert await stored(database.url()) == []
    async with running_mesh(data, mesh.env) as second:
        (key,) = told(second)
        assert key == second.operator_key == mesh.operator_key
        assert await status(second, key) == 200
        assert len(await stored(database.url())) == 1


async def test_where_other_operators_have_keys_none_is_made(data: Path, database: Database) -> None:
    env = {"WAYPOST_DATABASE_URL": database.url(), "WAYPOST_KEY_PEPPER": PEPPER}
    key = await add_key(database.url(), PEPPER, Role.OPERATOR)
    async with running_mesh(data, env) as mesh:
        assert told(mesh) == []
        assert not DataDir(data).operator_key.exists()
        # Nor a pepper, where the settings have one.
        assert not DataDir(data).key_pepper.exists()
        assert await status(mesh, key) == 200
    # With the last of them revoked there would be no way in.
    async with owner_of(database.url()) as owner:
        await owner.execute("UPDATE api_keys SET revoked_at = now()")
    async with running_mesh(data, mesh.env) as second:
        (new,) = told(second)
        assert (await status(second, new), await status(second, key)) == (200, 401)


async def test_a_file_that_was_taken_away_is_not_made_again(data: Path) -> None:
    async with running_mesh(data) as mesh:
        key = mesh.operator_key
    DataDir(data).operator_key.unlink()
    async with running_mesh(data, mesh.env) as second:
        assert told(second) == []
        assert not DataDir(data).operator_key.exists()
        assert await status(second, key) == 200


async def test_a_revoked_first_key_stays_revoked(data: Path) -> None:
    async with running_mesh(data) as mesh:
        key = mesh.operator_key
        async with owner_of(mesh.owner_dsn()) as owner:
            await owner.execute("UPDATE api_keys SET revoked_at = now()")
    async with running_mesh(data, mesh.env) as second:
        assert told(second) == []
        assert await status(second, key) == 401


async def test_a_file_without_a_key_in_it_is_told(data: Path) -> None:
    DataDir(data).operator_key.write_text("wp_something\n")
    async with running_mesh(data, ready=False) as mesh:
        await refused(mesh, str(DataDir(data).operator_key), "does not hold an API key")
    DataDir(data).operator_key.unlink()
    async with running_mesh(data, mesh.env) as second:
        assert told(second) == [second.operator_key]


async def test_another_pepper_is_told_and_the_old_one_beside_the_new_one_will_do(data: Path) -> None:
    files = DataDir(data)
    async with running_mesh(data) as mesh:
        key = mesh.operator_key
    old = files.key_pepper.read_text().strip()
    # Lost: the next start makes another.
    files.key_pepper.unlink()
    async with running_mesh(data, mesh.env, ready=False) as second:
        await refused(second, "no API key counts any more", str(files.operator_key), str(files.key_pepper))
    async with running_mesh(data, {**mesh.env, "WAYPOST_KEY_PEPPER": PEPPER}, ready=False) as third:
        await refused(third, "no API key counts any more", "WAYPOST_KEY_PEPPER=<new>,<old>")
    async with running_mesh(data, {**mesh.env, "WAYPOST_KEY_PEPPER": f"{PEPPER}, {old}"}) as fourth:
        assert told(fourth) == []
        assert await status(fourth, key) == 200
        # A new key is one of the new pepper.
        assert await status(fourth, await add_key(fourth.owner_dsn(), PEPPER)) == 200


def statements(title: str) -> str:
    """The SQL that docs/troubleshooting.md has under this title."""
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    return page.partition(f"## {title}\n")[2].partition("```sql\n")[2].partition("```")[0]


async def test_a_pepper_that_is_lost_for_good_takes_new_keys(data: Path) -> None:
    files = DataDir(data)
    async with running_mesh(data) as mesh:
        lost = mesh.operator_key
    files.key_pepper.unlink()
    files.operator_key.unlink()
    async with running_mesh(data, mesh.env) as second:
        assert await status(second, lost) == 401
        async with owner_of(second.owner_dsn()) as owner:
            await owner.execute(statements("The pepper of keys is lost"))
    async with running_mesh(data, second.env) as third:
        (key,) = told(third)
        assert (await status(third, key), await status(third, lost)) == (200, 401)


async def test_two_supervisors_on_one_database_at_once(data: Path, other: Path, database: Database) -> None:
    env = {"WAYPOST_DATABASE_URL": database.url(), "WAYPOST_KEY_PEPPER": PEPPER}
    async with running_mesh(data, env, ready=False) as first, running_mesh(other, env, ready=False) as second:
        await asyncio.gather(first.ready(), second.ready())
        keys = [*told(first), *told(second)]
        # Each may have found none, but what either has shown counts with both.
        assert keys
        assert len(await stored(database.url())) == len(keys)
        for mesh in (first, second):
            assert [await status(mesh, key) for key in keys] == [200] * len(keys)
            assert all(key == mesh.operator_key for key in told(mesh))
            assert not mesh.lines
