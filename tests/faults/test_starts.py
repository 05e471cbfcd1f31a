"""Starts and stops of the whole mesh: what is kept, what is refused and how, and that nothing is ever left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.load import Kind, Load, Outcome, check, make_links
from tests.support.mesh import Mesh, data_folder, running_mesh

PROMISED_SECONDS = 10.0
"""Within which a bad setting is named: two where nothing else runs, and far below what anything is given to start."""
STEADY_SECONDS = 30.0


@pytest.fixture
def nothing() -> Iterator[Path]:
    """A data directory that is not there yet."""
    with data_folder(fresh=True) as folder:
        yield folder


async def _refused(mesh: Mesh, *words: str) -> None:
    """It ends with exit code 2 and one line for people, with these words in it, and leaves nothing behind."""
    assert await mesh.ended() == 2
    assert len(mesh.lines) == 1, mesh.lines
    assert mesh.lines[0].startswith("waypost: ")
    for word in words:
        assert word in mesh.lines[0]
    await mesh.gone(10)


@pytest.mark.slow
async def test_what_was_stored_is_there_after_a_restart(nothing: Path) -> None:
    async with running_mesh(nothing) as mesh:
        async with Load(mesh, creates=30) as load:
            await load.more(20, Kind.CREATE)
            await load.end()
        assert await mesh.stop() == 0
        assert not mesh.lines
        await mesh.gone(10)
    async with running_mesh(nothing, mesh.env) as second:
        assert not (await check(load.log, second)).faults
        async with Load(second) as again:
            for code, url in load.log.acknowledged().items():
                assert (await again.redirect(code, url)).outcome is Outcome.DONE


@pytest.mark.slow
async def test_two_meshes_side_by_side(data: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_mesh(data))
        second = await stack.enter_async_context(running_mesh())
        links = [await make_links(mesh, 3) for mesh in (first, second)]
        async with httpx.AsyncClient(trust_env=False) as client:
            for code in links[0]:
                assert (await client.get(f"{second.http_url}/{code}")).status_code == 404
        assert await first.stop() == 0
        assert not first.living()
        async with Load(second) as load:
            for code, url in links[1].items():
                assert (await load.redirect(code, url)).outcome is Outcome.DONE
        assert not [event for event in second.events if event.get("state") in ("restarting", "failed")]


@pytest.mark.parametrize("port", ["http", "envoy_admin", "gateway_control", "workers_metrics"])
async def test_a_port_in_use(nothing: Path, port: str) -> None:
    setting = f"WAYPOST_{port.upper()}_PORT"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])  # a port of the kernel's choice, which no other mesh picks
        async with running_mesh(nothing, {setting: number}, ready=False) as mesh:
            await _refused(mesh, number, setting)
            assert not mesh.events


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("WAYPOST_HTTP_PORT", "eighty"),
        ("WAYPOST_HTPP_PORT", "8080"),
        ("WAYPOST_DATABASE_URL", "mysql://localhost"),
        ("WAYPOST_GATEWAY_DATABASE_POOL", "0"),
        ("WAYPOST_PUBLIC_URL", "not an address"),
    ],
)
async def test_a_bad_setting(nothing: Path, setting: str, value: str) -> None:
    began = time.monotonic()
    async with running_mesh(nothing, {setting: value}, ready=False) as mesh:
        await _refused(mesh, setting)
        took = time.monotonic() - began
    print(f"\n{setting}={value}: refused after {took:.2f} s: {mesh.lines[0]}")
    assert took < PROMISED_SECONDS


async def test_rules_that_cannot_be_read(nothing: Path) -> None:
    async with running_mesh(nothing, {"WAYPOST_LIMITS_DIR": "/nowhere"}, ready=False) as mesh:
        await _refused(mesh, "WAYPOST_LIMITS_DIR", "/nowhere")


async def test_the_data_directory_of_a_newer_version(data: Path) -> None:
    (data / "VERSION").write_text("99\n")
    async with running_mesh(data, ready=False) as mesh:
        await _refused(mesh, "newer Waypost", "99")
        assert not mesh.events


async def test_the_database_of_a_newer_version(data: Path) -> None:
    async with running_mesh(data) as mesh:
        connection = await asyncpg.connect(mesh.owner_dsn(), timeout=10)
        await connection.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'later', '')")
        await connection.close()
    async with running_mesh(data, mesh.env, ready=False) as second:
        await _refused(second, "newer Waypost")


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [("gateway", "starting"), ("postgres", "starting"), ("postgres", "ready"), ("envoy", "ready")],
    ids="-".join,
)
async def test_a_stop_during_the_first_start(nothing: Path, moment: tuple[str, str]) -> None:
    async with running_mesh(nothing, ready=False) as mesh:
        await mesh.wait_event(process=moment[0], state=moment[1])
        assert await mesh.stop() == 0
        assert not mesh.lines
        await mesh.gone(10)
    async with running_mesh(nothing, mesh.env) as second:
        await make_links(second, 1)


@pytest.mark.slow
async def test_a_storm_of_restarts(data: Path) -> None:
    acknowledged: dict[str, str] = {}
    mesh = Mesh(data)
    for turn in range(3):
        began = time.monotonic()
        async with running_mesh(data, mesh.env) as again:
            print(f"\nstart {turn + 1}: ready after {time.monotonic() - began:.2f} s", end="")
            assert time.monotonic() - began < STEADY_SECONDS
            acknowledged |= await make_links(again, 3)
            began = time.monotonic()
            assert await again.stop() == 0
            print(f", stopped in {time.monotonic() - began:.2f} s", end="")
            assert not [event for event in again.events if event.get("state") in ("restarting", "failed")]
        # One that is called off as soon as it has begun.
        async with running_mesh(data, mesh.env, ready=False) as brief:
            await brief.wait_event(process="gateway", state="starting")
            assert await brief.stop() == 0
    async with running_mesh(data, mesh.env) as last, Load(last) as load:
        answers = await asyncio.gather(*(load.redirect(code, url) for code, url in acknowledged.items()))
        assert [answer.outcome for answer in answers] == [Outcome.DONE] * 9
