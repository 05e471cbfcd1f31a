"""What the commands' declarations have in common. Imports nothing that takes time: every completion waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

EXIT_CODES = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage or setting, 3 no answer."
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, errors too.")

server_option = click.option(
    "--server",
    metavar="HOST:PORT",
    help="Where Waypost is, also as https://HOST  [default: WAYPOST_SERVER, else that of `waypost up` here].",
)

request_id_option = click.option(
    "--request-id",
    metavar="ID",
    help="Make it safe to run this again: for 24 hours, the same under one ID is done once  [default: a new one].",
)


def both(command: Command) -> Command:
    """`--server` and `--json`."""
    return server_option(json_option(command))
