"""The commands of `waypost limits overrides` and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from waypost.cli.options import EXIT_CODES, Target, both, listing
from waypost.cli.ttl import Ttl

UNITS = ["second", "minute", "hour", "day", "week", "month", "year"]
MAX_NUMBER = 2**32 - 1


@click.group(short_help="Give single descriptors other numbers.", epilog=EXIT_CODES)
def overrides() -> None:
    """Give single descriptors (a customer's key, an address) other numbers than their rule has. For operators.

    An override holds on every replica within a second, until it is deleted or its time is over.
    """


@overrides.command("list", short_help="List overrides.", epilog=EXIT_CODES)
@click.option("--domain", default="", metavar="DOMAIN", help="Only of this domain.")
@listing
def list_command(target: Target, as_json: bool, **wanted: Any) -> None:
    """List the overrides in force, the latest first. For operators."""
    from waypost.cli.limits import overrides as calls

    sys.exit(calls.show_all(os.environ, target, as_json=as_json, **wanted))


@overrides.command("set", short_help="Set the override of a descriptor.", epilog=EXIT_CODES)
@click.argument("domain")
@click.argument("words", metavar="KEY=VALUE [KEY=VALUE]", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(0, MAX_NUMBER), metavar="N", help="The limit; 0 refuses everything.")
@click.option("--per", type=click.Choice(UNITS), help="The unit of the limit.")
@click.option(
    "--burst",
    type=click.IntRange(0, MAX_NUMBER),
    metavar="N",
    default=0,
    help="What a full token bucket holds  [default: the limit].",
)
@click.option("--unlimited", is_flag=True, help="No limit at all.")
@click.option("--reason", default="", help="Why, for other operators and the audit log.")
@click.option("--ttl", type=Ttl(), metavar="TIME", help="Let it end after this time: 90s, 15m, 12h, 7d.")
@click.option("--expires-at", metavar="TIME", help="Let it end then: 2030-01-31T12:00:00Z.")
@both
def set_command(target: Target, as_json: bool, **fields: Any) -> None:
    """Set the override of the descriptor of these entries in DOMAIN, in place of the one that it has. For operators.

    The order of the entries counts. What was counted stays counted if the unit is that of the rule.

    \b
    Example:
      waypost limits overrides set waypost route_class=create \\
        remote_address=192.0.2.7 --limit 300 --per minute --ttl 7d
    """
    from waypost.cli.limits import overrides as calls

    sys.exit(calls.set_one(os.environ, target, as_json=as_json, **fields))


@overrides.command(short_help="Delete an override.", epilog=EXIT_CODES)
@click.argument("override_id")
@both
def delete(override_id: str, target: Target, as_json: bool) -> None:
    """Delete the override with this OVERRIDE_ID: its rule's numbers hold again. For operators."""
    from waypost.cli.limits import overrides as calls

    sys.exit(calls.delete(os.environ, target, as_json=as_json, override_id=override_id))
