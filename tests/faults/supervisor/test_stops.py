"""Ends: whatever ends, nothing stays behind, and what can go on goes on."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from tests.faults.supervisor.harness import PATIENCE, gone, plan, started
from waypost.supervisor.exits import ended
from waypost.supervisor.process_table import members


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_everything_in_order(tmp_path: Path, number: signal.Signals) -> None:
    mesh = plan("edge", "front", "store")
    for stage, name in enumerate(mesh):
        mesh[name]["stage"] = stage
    async with started(mesh, tmp_path) as up:
        assert (await up.ready()).startswith("waypost: ready http://127.0.0.1:")
        up.stop(number)
        assert await up.end() == 0
        assert not list(members(up.group))
        assert up.states()[-6:] == [(name, state) for name in mesh for state in ("stopping", "stopped")]
        assert up.errors == []


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    mesh = plan("a", a=["stubborn"])
    mesh["a"]["seconds"] = 300.0
    async with started(mesh, tmp_path) as up:
        await up.ready()
        up.stop()
        await up.event(process="a", state="stopping")
        up.stop()
        assert await up.end() == 0
        assert not list(members(up.group))


async def test_a_killed_supervisor_leaves_nothing_and_the_next_start_waits_for_that(tmp_path: Path) -> None:
    async with started(plan("a", "b", b=["stubborn"]), tmp_path) as first:
        await first.ready()
        first.stop(signal.SIGKILL)
        async with started(plan("a"), tmp_path) as second:
            await second.event(event="waiting_for_lock")
            await second.ready()
            assert not list(members(first.group))
            second.stop()
            assert await second.end() == 0
    assert "killing what is left" in (tmp_path / "logs" / "guardian.log").read_text()


async def test_a_stopped_process_does_not_escape(tmp_path: Path) -> None:
    async with started(plan("a", "b"), tmp_path) as up:
        await up.ready()
        os.kill((await up.event(process="b", state="ready"))["pid"], signal.SIGSTOP)
        up.stop(signal.SIGKILL)
        await gone(up.group)


@pytest.mark.parametrize("seed", range(6))
async def test_a_supervisor_killed_at_any_moment_leaves_nothing(tmp_path: Path, seed: int) -> None:
    mark = f"mark-{os.getpid()}-{seed}"
    mesh = plan(*"abcd", **{name: [mark] for name in "abcd"})
    async with started(mesh, tmp_path) as up:
        # A moment, not an event: between any two instructions of the start.
        await asyncio.sleep(random.Random(seed).uniform(0.1, 0.6))
        up.stop(signal.SIGKILL)
        await up.end()
        async with asyncio.timeout(PATIENCE):
            while left := _marked(mark):
                await ended(left[0])


def _marked(mark: str) -> list[int]:
    """Stand-ins of this test, by a word on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found


async def test_a_killed_process_comes_back_and_its_neighbours_never_notice(tmp_path: Path) -> None:
    async with started(plan("a", "b"), tmp_path) as up:
        await up.ready()
        before = await up.event(process="a", state="ready")
        os.kill(before["pid"], signal.SIGKILL)
        assert "signal SIGKILL" in (await up.event(process="a", state="restarting"))["detail"]
        after = await up.event(2, process="a", state="ready")
        assert after["pid"] != before["pid"]
        assert [state for name, state in up.states() if name == "b"] == ["starting", "ready"]
        assert up.group == os.getpgid(after["pid"])


async def test_a_killed_guardian_is_replaced_and_the_new_one_does_its_work(tmp_path: Path) -> None:
    async with started(plan("a", "b"), tmp_path) as up:
        await up.ready()
        for _ in range(2):
            guardian = _guardian(up.group)
            os.kill(guardian, signal.SIGKILL)
            await ended(guardian)
            await up.event(
                event="guardian_restarted", detail=f"the guardian (pid {guardian}) ended; a new one took over"
            )
        assert [state for name, state in up.states() if name == "a"] == ["starting", "ready"]
        up.stop(signal.SIGKILL)
        await gone(up.group)


def _guardian(group: int) -> int:
    for process in members(group):
        if b"guardian.py" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            return process.pid
    raise AssertionError("no guardian")


async def test_signals_do_not_move_the_guardian(tmp_path: Path) -> None:
    async with started(plan("a"), tmp_path) as up:
        await up.ready()
        guardian = _guardian(up.group)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(guardian, number)
        up.stop()
        assert await up.end() == 0
        assert not [event for event in up.events if event["event"] == "guardian_restarted"]


async def test_a_mesh_that_stays_degraded_is_ready_all_the_same(tmp_path: Path) -> None:
    async with started(plan("a", a=["degraded"]), tmp_path) as up:
        await up.ready()
        assert (await up.event(process="a", state="degraded"))["detail"] == "postgres: away"


async def test_output_that_nobody_reads_any_more_stops_nothing(tmp_path: Path) -> None:
    async with started(plan("a"), tmp_path) as up:
        await up.ready()
        before = await up.event(process="a", state="ready")
        transport = up.process._transport.get_pipe_transport(2)  # type: ignore[attr-defined]
        transport.close()
        os.kill(before["pid"], signal.SIGKILL)
        await ended(before["pid"])
        up.stop()
        assert await up.end() == 0
