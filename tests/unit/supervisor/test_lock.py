"""The lock of the data directory."""

import asyncio
import os
from pathlib import Path

import pytest

from waypost.supervisor.errors import DataDirectoryInUse
from waypost.supervisor.lock import Holder, acquire


def _silent() -> None:
    pytest.fail("nothing to wait for")


async def test_a_held_lock_names_its_holder_at_once(tmp_path: Path) -> None:
    lock = await acquire(tmp_path / "lock", 5, _silent)
    with pytest.raises(DataDirectoryInUse, match=f"pid {os.getpid()}") as caught:
        await acquire(tmp_path / "lock", 5, _silent)
    assert caught.value.exit_code == 2
    lock.release()
    (await acquire(tmp_path / "lock", 5, _silent)).release()


async def test_a_lock_whose_supervisor_died_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    guardian = await acquire(path, 5, _silent)
    myself = Holder.myself()
    path.write_text(f"{Holder(myself.pid, myself.start + 1, myself.namespace)}\n")
    waiting = asyncio.Event()
    start = asyncio.create_task(acquire(path, 5, waiting.set))
    await waiting.wait()
    guardian.release()
    (await start).release()
    assert Holder.parse(path.read_text()) == myself


async def test_the_wait_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = await acquire(path, 5, _silent)
    path.write_text("")
    with pytest.raises(DataDirectoryInUse, match="did not end within"):
        await acquire(path, 0.1, lambda: None)
    lock.release()


async def test_a_holder_in_another_container_is_not_a_pid_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = await acquire(path, 5, _silent)
    path.write_text("1 1 pid:[1]\n")
    with pytest.raises(DataDirectoryInUse, match="in another container"):
        await acquire(path, 5, _silent)
    lock.release()


def test_a_half_written_lock_file_names_nobody() -> None:
    assert Holder.parse("") is None
    assert Holder.parse("12 x y") is None
