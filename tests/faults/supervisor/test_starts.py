"""Starts that must not happen: one clear line, exit code 2, nothing left running."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from tests.faults.supervisor.harness import Up, environment, plan, started


async def _refused(up: Up, *words: str, code: int = 2) -> None:
    assert await up.end() == code
    assert len(up.errors) == 1, up.errors
    assert up.errors[0].startswith("waypost: ")
    for word in words:
        assert word in up.errors[0]


async def test_a_taken_port(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with socket.create_server(("127.0.0.1", int(env["WAYPOST_GATEWAY_WEB_PORT"]))):
        async with started(plan("a"), tmp_path, env) as up:
            await _refused(up, env["WAYPOST_GATEWAY_WEB_PORT"], "WAYPOST_GATEWAY_WEB_PORT", "already in use by ")
            assert not up.events


async def test_one_port_for_two(tmp_path: Path) -> None:
    env = environment(tmp_path)
    env["WAYPOST_HTTP_PORT"] = env["WAYPOST_ENVOY_ADMIN_PORT"]
    async with started(plan("a"), tmp_path, env) as up:
        await _refused(up, "WAYPOST_HTTP_PORT and WAYPOST_ENVOY_ADMIN_PORT both name port")


@pytest.mark.parametrize(
    ("env", "word"),
    [
        ({"WAYPOST_HTPP_PORT": "1"}, "did you mean WAYPOST_HTTP_PORT?"),
        ({"WAYPOST_HTTP_PORT": "eighty"}, "WAYPOST_HTTP_PORT"),
        ({"WAYPOST_DATABASE_URL": "mysql://"}, "WAYPOST_DATABASE_URL"),
        ({"WAYPOST_DATABASE_API_URL": "postgresql://"}, "WAYPOST_DATABASE_API_URL is set, but"),
        ({"WAYPOST_HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
    ],
)
async def test_a_bad_setting(tmp_path: Path, env: dict[str, str], word: str) -> None:
    async with started(plan("a"), tmp_path, env) as up:
        await _refused(up, word)


async def test_a_data_directory_of_a_newer_waypost(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("99\n")
    async with started(plan("a"), tmp_path) as up:
        await _refused(up, "newer Waypost")


async def test_a_data_directory_in_use(tmp_path: Path) -> None:
    async with started(plan("a"), tmp_path) as first:
        await first.ready()
        async with started(plan("b"), tmp_path) as second:
            await _refused(second, f"another waypost uses this data directory (pid {first.process.pid})")


async def test_a_process_that_refuses_its_settings_stops_all(tmp_path: Path) -> None:
    async with started(plan("a", "b", b=["refuse"]), tmp_path) as up:
        await _refused(up, "b refuses to start", "WAYPOST_COLOUR must be blue")
        assert [state for name, state in up.states() if name == "b"] == ["starting", "failed"]
        assert ("a", "stopped") in up.states()


async def test_a_process_that_never_becomes_ready_is_given_up(tmp_path: Path) -> None:
    async with started(plan("a", "b", b=["fail"]), tmp_path) as up:
        await _refused(up, "b ended 5 times", "exit code 1: standin: something broke", code=1)
        restarts = [event["detail"] for event in up.events if event.get("state") == "restarting"]
        assert len(restarts) == 4
        assert all("exit code 1: standin: something broke; again in" in detail for detail in restarts)


async def test_a_stop_while_a_start_waits_for_the_lock(tmp_path: Path) -> None:
    async with started(plan("a", a=["stubborn"]), tmp_path) as first:
        await first.ready()
        first.stop(signal.SIGKILL)
        async with started(plan("b"), tmp_path) as second:
            await second.event(event="waiting_for_lock")
            second.stop()
            assert await asyncio.wait_for(second.end(), 20) == 0
