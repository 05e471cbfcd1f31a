"""Completion: the script for each shell, what it offers, and how soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.missing import missing
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
    assert offered("bash", "waypost keys re", 2) == ["plain,revoke"]
    assert offered("bash", "waypost keys create --role o", 4) == ["plain,owner", "plain,operator"]
    assert offered("bash", "waypost members add ann --role o", 5) == ["plain,owner"]
    assert offered("bash", "waypost abuse report talk --category ph", 5) == ["plain,phishing"]
    assert "plain,--workspace" in offered("bash", "waypost audit export --", 3)


def test_an_offer_loads_no_library_that_takes_time() -> None:
    env = {VARIABLE: "bash_complete", "COMP_WORDS": "waypost links list --st", "COMP_CWORD": "3"}
    assert loaded([], env) == "[]"


@pytest.fixture
def bash() -> str:
    """Where it is."""
    found = shutil.which("bash")
    if found is None:
        missing("bash is missing")
    return found


def shell(bash: str, program: str, **env: str) -> str:
    """What it prints, when all is well."""
    done = subprocess.run(
        [bash, "-c", program], env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("folder", ["bin", "my own bin"])
def test_the_line_for_bash_works_where_the_shell_does_not_find_the_program(
    bash: str, folder: str, tmp_path: Path
) -> None:
    program = tmp_path / folder / "waypost"
    program.parent.mkdir()
    program.symlink_to(PROGRAMS / "waypost")
    usual = ":".join(one for one in os.environ["PATH"].split(":") if not (Path(one) / "waypost").exists())
    told = shell(bash, '"$PROGRAM" completion --help', PROGRAM=str(program), PATH=usual)
    (line,) = (line for line in told.splitlines() if line.endswith(">> ~/.bashrc"))
    shell(bash, line.partition(":")[2], HOME=str(tmp_path), PATH=usual)
    assert "complete -o nosort -F _waypost_completion waypost" in shell(
        bash, '. "$HOME/.bashrc"; complete -p waypost', HOME=str(tmp_path), PATH=usual
    )
    # And what makes the shell find it does.
    (line,) = (line for line in told.splitlines() if "export PATH=" in line)
    assert shell(bash, f"{line}; command -v waypost", PATH=usual) == f"{program}\n"


def test_the_lines_are_short_where_the_shell_finds_the_program(bash: str) -> None:
    told = shell(bash, "waypost completion --help", PATH=f"{PROGRAMS}:{os.environ['PATH']}")
    assert """echo 'eval "$(waypost completion bash)"' >> ~/.bashrc""" in told


def test_bash_completes(bash: str) -> None:
    program = (
        'eval "$(waypost completion bash)"; COMP_WORDS=(waypost links und); COMP_CWORD=2;'
        ' _waypost_completion waypost; echo "${COMPREPLY[@]}"'
    )
    assert shell(bash, program, PATH=f"{PROGRAMS}:{os.environ['PATH']}") == "undelete\n"
