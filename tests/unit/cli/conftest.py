"""A server by the contract in a process of its own, and the `waypost` command that talks to it in ours."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from waypost.cli.root import cli

ROOT = Path(__file__).resolve().parents[3]

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Command:
    """`waypost …`, or of it what `group` names, for the server at `address`."""

    address: str
    group: tuple[str, ...] = ()

    def __call__(self, *words: str, stdin: str | bytes | None = None, **env: str) -> Result:
        """What became of it."""
        # Nobody's key but those that a test gives.
        runner = CliRunner(env={"WAYPOST_SERVER": self.address, "WAYPOST_DATA_DIR": "/nonexistent", **env})
        result = runner.invoke(cli, [*self.group, *words], input=stdin, prog_name="waypost")
        # A defect is no refusal.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def said(self, *words: str, stdin: str | bytes | None = None, **env: str) -> str:
        """What it prints when all is well."""
        result = self(*words, stdin=stdin, **env)
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
        return result.stdout

    def json(self, *words: str, **env: str) -> Any:
        """The same, as JSON."""
        return json.loads(self.said(*words, "--json", **env))

    def refused(self, *words: str, code: int = 1, **env: str) -> str:
        """What it says when it is refused with this exit code; nothing else is printed."""
        result = self(*words, **env)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        return result.stderr.removeprefix("waypost: ").removesuffix("\n")

    def make(self, *words: str) -> str:
        """The short code of a new link."""
        return str(self.json("create", "https://example.com/", "--alias", fresh(), *words)["short_code"])


def fresh() -> str:
    """An alias, or a tag, that no test has used."""
    return f"fresh-{next(_numbers)}"


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the session's server is."""
    program = [sys.executable, "-m", "tests.support.link_server"]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(10)


@pytest.fixture
def links(address: str) -> Command:
    """`waypost links`."""
    return Command(address, ("links",))


@pytest.fixture
def waypost(address: str) -> Command:
    """`waypost`."""
    return Command(address)
