"""What the commands' declarations have in common. Imports nothing that takes time: every completion waits for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

EXIT_CODES = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage or setting, 3 no answer."
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Target:
    """What the command line says of where a command works; None: what the environment says."""

    server: str | None = None
    workspace: str | None = None


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, errors too.")

_server = click.option(
    "--server",
    metavar="HOST:PORT",
    help="Where Waypost is, also as https://HOST  [default: WAYPOST_SERVER, else that of `waypost up` here].",
)

_workspace = click.option(
    "--workspace",
    metavar="ID",
    help="Workspace to work in  [default: WAYPOST_WORKSPACE, else that of your key or your only one].",
)

request_id_option = click.option(
    "--request-id",
    metavar="ID",
    help="Make it safe to run this again: for 24 hours, the same under one ID is done once  [default: a new one].",
)


limit_option = click.option(
    "--limit", type=click.IntRange(1, 10_000), metavar="N", help="At most so many  [default: 50]."
)
all_option = click.option("--all", "everything", is_flag=True, help="All there are, however many.")
list_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array; with --all, a line of JSON for each."
)


def target_options(command: Command) -> Command:
    """`--server` and `--workspace`, which the command gets as one `target`."""

    @functools.wraps(command)
    def with_target(*, server: str | None, workspace: str | None, **others: Any) -> Any:
        return command(target=Target(server, workspace), **others)

    decorated: Command = _server(_workspace(with_target))
    return decorated


def both(command: Command) -> Command:
    """`--server`, `--workspace` and `--json`."""
    return target_options(json_option(command))


def listing(command: Command) -> Command:
    """The options of commands that list: how many, where, and in which form."""
    return limit_option(all_option(target_options(list_json_option(command))))
