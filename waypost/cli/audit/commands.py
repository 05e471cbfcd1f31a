"""The commands of `waypost audit` and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from waypost.cli.options import EXIT_CODES, Command, Target, both, listing


def conditions(command: Command) -> Command:
    """The options that say which events."""
    for option in reversed(
        (
            click.option("--principal", default="", help="Only what they did: key:ID, user:SUBJECT, anonymous."),
            click.option("--action", default="", help="Only this: link.block; `link.` for all of a kind."),
            click.option("--object", default="", help="Only what was done to it: a code, an id, a subject."),
            click.option("--from", "since", metavar="TIME", help="Only from then on: 2030-01-31T12:00:00Z."),
            click.option("--until", metavar="TIME", help="Only before then."),
            click.option("--all-workspaces", is_flag=True, help="Of all workspaces. For operators."),
        )
    ):
        command = option(command)
    return command


@click.group(epilog=EXIT_CODES)
def audit() -> None:
    """Read the audit log: who did what to which object."""


@audit.command("list", short_help="List what was done.", epilog=EXIT_CODES)
@conditions
@listing
def list_events(target: Target, as_json: bool, **wanted: Any) -> None:
    """List what was done in the workspace, the latest first.

    \b
    Examples:
      waypost audit list --action key.
      waypost audit list --object x7Kp2mQ --from 2030-01-01T00:00:00Z --all
    """
    from waypost.cli.audit import events

    sys.exit(events.show(os.environ, target, as_json=as_json, **wanted))


@audit.command(short_help="Export what was done, one JSON object a line.", epilog=EXIT_CODES)
@conditions
@click.option("-o", "--output", default="-", metavar="FILE", help="Where to write it  [default: -, standard output].")
@click.option("--resume", is_flag=True, help="Go on with FILE where an export of the same was cut off.")
@both
def export(target: Target, as_json: bool, **wanted: Any) -> None:
    """Export what was done in the workspace, the latest first, one JSON object a line, however much it is.

    A FILE that is there already is not touched without --resume. Where the export is over the server's limit, the rest
    of it waits its turn. Exit code 130 after Ctrl-C.

    \b
    Examples:
      waypost audit export -o audit.jsonl
      waypost audit export -o audit.jsonl --resume
      waypost audit export --from 2030-01-01T00:00:00Z | jq .action
    """
    from waypost.cli.audit import exporting

    sys.exit(exporting.export(os.environ, target, as_json=as_json, **wanted))
