"""The guardian from its supervisor's side."""

import os
import signal
from pathlib import Path

import pytest

from waypost.supervisor.guard import Guard
from waypost.supervisor.logs import Log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
async def test_a_signal_at_the_guardians_first_moment_does_not_end_it(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "lock").touch()
    lock = os.open(tmp_path / "lock", os.O_RDONLY)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    guard = Guard(lock, Log(tmp_path / "guardian.log"), lambda text: None)
    try:
        guard.start()
        os.kill(guard.pid, number)
        process = guard._process
        assert process is not None
        await guard.close()
    finally:
        os.close(lock)
    assert process.returncode == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
