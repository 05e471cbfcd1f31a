"""`waypost completion`: the script with which a shell completes `waypost` commands."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath

import click
from click.shell_completion import get_completion_class

from waypost.cli.output import WRONG_USAGE, fail

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_WAYPOST_COMPLETE"


class CompletionCommand(click.Command):
    """A command whose help shows itself, as `PROGRAM`, by a name that also works in a new shell."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help with the program that is running."""
        text, self.help = self.help or "", with_program(self.help or "", sys.argv[0])
        try:
            super().format_help_text(ctx, formatter)
        finally:
            self.help = text


def with_program(text: str, program: str) -> str:
    """The text with what to call for `PROGRAM`, and the folder that has it for `FOLDER`.

    `waypost` is enough where the shell finds it; elsewhere it is the whole path.
    """
    path = Path(program).absolute()
    if path.name != "waypost":
        # Not started by its name: `python -m`, say.
        return text.replace("PROGRAM", "waypost").replace("FOLDER", "$PWD/.venv/bin")
    found = shutil.which("waypost")
    known = found is not None and Path(found).absolute() == path
    whole, folder = (re.sub(r"([^\w@%+=:,./-])", r"\\\1", str(one)) for one in (path, path.parent))
    return text.replace("PROGRAM", "waypost" if known else whole).replace("FOLDER", folder)


def script(env: Mapping[str, str], shell: str | None, command: click.Command) -> int:
    """Prints it, for the user's own shell unless told which; returns the exit code."""
    name = shell or PurePath(env.get("SHELL", "")).name
    if name not in SHELLS:
        return fail(WRONG_USAGE, f"which shell is it? Give one of {', '.join(SHELLS)}", as_json=False)
    made = get_completion_class(name)
    assert made is not None  # noqa: S101
    click.echo(made(command, {}, "waypost", VARIABLE).source())
    return 0
