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
    """`waypost links …` for the server at `address`."""

    address: str

    def __call__(self, *words: str, stdin: str | bytes | None = None, **env: str) -> Result:
        """What became of it."""
        runner = CliRunner(env={"WAYPOST_SERVER": self.address, **env})
        result = runner.invoke(cli, ["links", *words], input=stdin, prog_name="waypost")
        # A defect is no refusal.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def said(self, *words: str, stdin: str | bytes | None = None) -> str:
        """What it prints when all is well."""
        result = self(*words, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
        return result.stdout

    def json(self, *words: str) -> Any:
        """The same, as JSON."""
        return json.loads(self.said(*words, "--json"))

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
    return Command(address)
