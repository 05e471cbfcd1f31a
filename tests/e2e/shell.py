"""Commands as people and scripts run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DONE, FAILED, WRONG_USAGE, NO_ANSWER = range(4)
"""Exit codes of `waypost`."""

PROGRAMS = Path(sys.executable).parent
"""Where this environment's programs are."""

DIRECT = {"no_proxy": "*", "NO_PROXY": "*"}
"""For programs that would ask the developer's proxy for this very machine."""


def shell(command: str | Sequence[str], env: Mapping[str, str], cwd: Path = Path("/")) -> tuple[int, str, str]:
    """Exit code, output and errors of a program with its arguments, or of a line of bash."""
    done = subprocess.run(
        ["bash", "-c", command] if isinstance(command, str) else command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def waypost(env: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `waypost …`."""
    return shell([str(PROGRAMS / "waypost"), *arguments], env)


def one_line(said: tuple[int, str, str], code: int) -> str:
    """What a failed `waypost` says; asserts its exit code, and that it is one line that begins with its name."""
    assert (said[0], said[1]) == (code, ""), said
    (line,) = said[2].splitlines()
    assert line.startswith("waypost: ")
    return line.removeprefix("waypost: ")
