"""`waypost up` on a terminal: plain lines, and Ctrl-C that reaches the supervisor alone."""

import asyncio
import fcntl
import json
import os
import re
import subprocess
import sys
import termios
from pathlib import Path

from tests.faults.supervisor.harness import PATIENCE, PROGRAM, environment, plan


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def test_ctrl_c_stops_everything_in_order(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, PROGRAM, json.dumps(plan("a", "b"))],
        env={**environment(tmp_path), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - nothing locks in it
    ) as process:
        os.close(theirs)
        seen = ""
        pressed = False
        async with asyncio.timeout(PATIENCE):
            while chunk := await asyncio.to_thread(_read, ours):
                seen += chunk
                if "Ctrl-C stops everything" in seen and not pressed:
                    pressed = True
                    os.write(ours, b"\x03")
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    os.close(ours)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", seen).replace("\r\n", "\n")
    assert "\x1b" in seen
    assert re.search(r"^  a +ready +in \d\.\d s$", lines, re.M)
    assert re.search(r"^waypost: ready http://127\.0\.0\.1:\d+$", lines, re.M)
    # In order: had the key reached them too, they would have been gone, and restarted, before being told.
    assert re.search(r"waypost: stopping\n  [ab] +stopped\n  [ab] +stopped\nwaypost: stopped\n", lines)
    assert "restarting" not in lines


def _read(fd: int) -> str:
    try:
        return os.read(fd, 4096).decode()
    except OSError:  # how Linux says that nobody holds the other side any more
        return ""
