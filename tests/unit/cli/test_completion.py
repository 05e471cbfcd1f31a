"""Completion: the script for each shell, what it offers, and how soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.cli.test_root import loaded
from waypost.cli.completion import SHELLS, VARIABLE
from waypost.cli.root import cli

PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{VARIABLE}={shell}_complete" in result.stdout


def test_the_users_own_shell_unless_told_which() -> None:
    told = CliRunner().invoke(cli, ["completion", "fish"]).stdout
    assert CliRunner(env={"SHELL": "/usr/bin/fish"}).invoke(cli, ["completion"]).stdout == told
    for other in ("/bin/csh", "", None):
        result = CliRunner(env={"SHELL": other}).invoke(cli, ["completion"])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "waypost: which shell is it? Give one of bash, zsh, fish\n"


def offered(shell: str, line: str, position: int) -> list[str]:
    """What a shell's script is told when it asks."""
    env = {**os.environ, VARIABLE: f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(position)}
    done = subprocess.run([PROGRAMS / "waypost"], env=env, capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_commands_options_and_values_are_offered() -> None:
    assert offered("bash", "waypost links un", 2) == ["plain,undelete"]
    assert "plain,--max-clicks" in offered("bash", "waypost links create --", 3)
    assert offered("bash", "waypost links list --state ex", 4) == ["plain,expired", "plain,exhausted"]
    assert "undelete" in offered("zsh", "waypost links un", 2)


def test_an_offer_loads_no_library_that_takes_time() -> None:
    env = {VARIABLE: "bash_complete", "COMP_WORDS": "waypost links list --st", "COMP_CWORD": "3"}
    assert loaded([], env) == "[]"


def test_bash_completes() -> None:
    bash = shutil.which("bash")
    if bash is None:
        reason = "bash is missing"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    program = (
        'eval "$(waypost completion bash)"; COMP_WORDS=(waypost links und); COMP_CWORD=2;'
        ' _waypost_completion waypost; echo "${COMPREPLY[@]}"'
    )
    env = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", program], env=env, capture_output=True, text=True, check=False, timeout=30)
    assert (done.stdout, done.stderr) == ("undelete\n", "")
