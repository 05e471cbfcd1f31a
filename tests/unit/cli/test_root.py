"""The commands' help: complete, short enough for a terminal, and quick."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from waypost.cli.options import EXIT_CODES
from waypost.cli.root import cli


def walk(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    yield words, command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from walk(one, *words, name)


ALL = [pytest.param(words, command, id=" ".join(("waypost", *words))) for words, command in walk(cli)]


@pytest.mark.parametrize(("words", "command"), ALL)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(words: tuple[str, ...], command: click.Command, option: str) -> None:
    # As wide as a terminal usually is.
    result = CliRunner(env={"COLUMNS": "80"}).invoke(cli, [*words, option], prog_name="waypost")
    assert (result.exit_code, result.stderr) == (0, "")
    text = result.stdout
    assert text.startswith(f"Usage: {' '.join(('waypost', *words))} ")
    assert max(map(len, text.splitlines())) <= 80
    # Nothing is cut off, and every option says what it does.
    assert "..." not in text.replace("[OPTIONS]", "").replace("[ARGS]...", "")
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    if words not in ((), ("up",), ("version",)):
        assert " ".join(EXIT_CODES.split()) in " ".join(text.split())


@pytest.mark.parametrize(("words", "command"), ALL)
def test_json_is_there_for_whatever_prints_something(words: tuple[str, ...], command: click.Command) -> None:
    names = {name for parameter in command.params for name in parameter.opts}
    assert ("--json" in names) is (not isinstance(command, click.Group) and words not in (("up",), ("completion",)))


@pytest.mark.parametrize(("words", "command"), ALL)
def test_no_secret_is_an_option(words: tuple[str, ...], command: click.Command) -> None:
    """Whoever lists the processes of a machine sees the options of all of them."""
    names = {name.strip("-") for parameter in command.params for name in parameter.opts}
    assert not names & {"api-key", "key", "token", "secret", "password", "credentials"}


@pytest.mark.parametrize(("words", "command"), ALL)
def test_whatever_talks_to_a_server_can_be_told_the_workspace(words: tuple[str, ...], command: click.Command) -> None:
    names = {name for parameter in command.params for name in parameter.opts}
    assert ("--server" in names) is ("--workspace" in names)


def loaded(words: list[str], env: dict[str, str]) -> str:
    """Which libraries that take time a command has loaded by its end, as a list."""
    heavy = ("grpc", "asyncpg", "pydantic", "uvicorn", "google", "asyncio")
    program = (
        f"import sys; from waypost.cli import main; sys.argv = ['waypost', *{words!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(); print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.splitlines()[-1]


def test_the_version_is_an_option_as_well() -> None:
    told = CliRunner().invoke(cli, ["version"], prog_name="waypost")
    asked = CliRunner().invoke(cli, ["--version"], prog_name="waypost")
    assert (asked.exit_code, asked.stdout) == (0, told.stdout)
    assert asked.stdout.startswith("waypost ")


def test_a_command_alone_shows_its_help() -> None:
    for words in ([], ["links"]):
        result = CliRunner().invoke(cli, words, prog_name="waypost")
        assert result.exit_code == 2
        assert result.stderr.startswith("Usage: waypost")


def test_help_loads_no_driver_and_no_server() -> None:
    """It is what people wait for most often."""
    for words in ([], ["links"], ["links", "list"], ["keys", "create"], ["audit", "export"], ["abuse", "block"]):
        assert loaded([*words, "--help"], {}) == "[]"
