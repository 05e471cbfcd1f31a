"""`waypost completion`: the script with which a shell completes `waypost` commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import click
from click.shell_completion import get_completion_class

from waypost.cli.output import WRONG_USAGE, fail

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_WAYPOST_COMPLETE"


def script(env: Mapping[str, str], shell: str | None, command: click.Command) -> int:
    """Prints it, for the user's own shell unless told which; returns the exit code."""
    name = shell or PurePath(env.get("SHELL", "")).name
    if name not in SHELLS:
        return fail(WRONG_USAGE, f"which shell is it? Give one of {', '.join(SHELLS)}", as_json=False)
    made = get_completion_class(name)
    assert made is not None  # noqa: S101
    click.echo(made(command, {}, "waypost", VARIABLE).source())
    return 0
