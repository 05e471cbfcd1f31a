"""The embedded PostgreSQL under watch: killed, orphaned, stopped in order; what it acknowledged stays."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.faults.supervisor.harness import gone, plan, started
from tests.support.waiting import until
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.database import EmbeddedDatabase
from waypost.supervisor.process_table import members
from waypost.supervisor.settings import SupervisorSettings

ENV = {"STANDIN_DATABASE": "1"}


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that the user of PostgreSQL can pass to; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


async def _run(data: Path, statement: str, role: str = "") -> object:
    database = EmbeddedDatabase(SupervisorSettings(), DataDir(data))
    url = database.role_urls()[role] if role else database.owner_url()
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_what_is_stored_survives_every_kind_of_end(data: Path) -> None:
    async with started(plan("a"), data, {**ENV}) as up:
        await up.ready()
        await _run(data, "CREATE TABLE kept (n int)")
        assert await _run(data, "SELECT current_user::text", "waypost_redirect") == "waypost_redirect"

        await _run(data, "INSERT INTO kept VALUES (1)")
        os.kill((await up.event(process="postgres", state="ready"))["pid"], signal.SIGKILL)
        assert "signal SIGKILL" in (await up.event(process="postgres", state="restarting"))["detail"]
        await up.event(2, process="postgres", state="ready")
        assert await _run(data, "SELECT count(*) FROM kept") == 1
        assert [state for name, state in up.states() if name == "a"] == ["starting", "ready"]

        await _run(data, "INSERT INTO kept VALUES (2)")
        up.stop(signal.SIGKILL)
        async with started(plan("a"), data, {**ENV}) as second:
            await second.ready()
            assert not list(members(up.group))
            assert await _run(data, "SELECT count(*) FROM kept") == 2
            second.stop()
            assert await second.end() == 0
            assert second.states()[-1] == ("postgres", "stopped")
    log = (data / "logs" / "postgres.log").read_text()
    # Once by the guardian, once by the supervisor.
    assert log.count("database system is shut down") == 2


async def test_a_stop_during_the_first_start_leaves_nothing(data: Path) -> None:
    async with started(plan("a"), data, {**ENV}) as up:
        await up.event(process="a", state="ready")
        up.stop()
        assert await up.end() == 0
        await gone(up.group)
        assert up.errors == []
    async with started(plan("a"), data, {**ENV}) as up:
        await up.ready()


async def test_a_kill_while_the_database_is_made_leaves_nothing(data: Path) -> None:
    async with started(plan("a"), data, {**ENV}) as up:
        await up.event(process="a", state="ready")
        await until(lambda: any(process.name == "initdb" for process in members(up.group)))
        up.stop(signal.SIGKILL)
        await gone(up.group)
    async with started(plan("a"), data, {**ENV}) as up:
        await up.ready()


async def test_a_database_of_a_newer_waypost_is_left_alone(data: Path) -> None:
    async with started(plan("a"), data, {**ENV}) as up:
        await up.ready()
        await _run(data, "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', '')")
        up.stop()
        assert await up.end() == 0
    async with started(plan("a"), data, {**ENV}) as up:
        assert await up.end() == 2
        assert len(up.errors) == 1
        assert "newer Waypost" in up.errors[0]
