"""The commands of `waypost limits` and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys

import click

from waypost.cli.limits.override_commands import overrides
from waypost.cli.options import EXIT_CODES, Target, both, json_option


@click.group(short_help="Look at rate limits, and override them.", epilog=EXIT_CODES)
def limits() -> None:
    """Look at the rules that limit requests and at what they make of a request, and override them."""


@limits.command(short_help="Check a folder of rule files.", epilog=EXIT_CODES)
@click.argument("folder", required=False, type=click.Path())
@json_option
def check(folder: str | None, as_json: bool) -> None:
    """Load the rule files in FOLDER as the rate limiter would, and say what is wrong or what is in them.

    Without FOLDER it is that of WAYPOST_LIMITS_DIR, or else the rules that come with Waypost. Nothing needs to run.
    Files with a mistake end with exit code 2.

    \b
    For example, before a change goes out:
      waypost limits check deploy/limits
    """
    from waypost.cli.limits import offline

    sys.exit(offline.check(os.environ, folder, as_json=as_json))


@limits.command(short_help="Say which rule a descriptor meets, and why.", epilog=EXIT_CODES)
@click.argument("domain")
@click.argument("entries", metavar="KEY=VALUE [KEY=VALUE]", nargs=-1, required=True)
@click.option("--rules", "folder", metavar="FOLDER", help="Look in this folder of rule files; nothing needs to run.")
@click.option(
    "--hits", type=click.IntRange(1, 2**32 - 1), default=1, metavar="N", help="What the request costs  [default: 1]."
)
@both
def explain(
    domain: str, entries: tuple[str, ...], folder: str | None, hits: int, target: Target, as_json: bool
) -> None:
    """Say which rule of DOMAIN a descriptor of these entries meets, what is left of its limits, and why.

    The rate limiter that runs is asked; nothing is counted. With --rules the files alone are looked at: which rule it
    would be, or where the search for one ends. The order of the entries counts.

    \b
    For example:
      waypost limits explain --rules limits waypost \\
        route_class=create remote_address=192.0.2.7
    """
    if folder is not None:
        from waypost.cli.limits import offline

        sys.exit(offline.explain(os.environ, folder, domain, entries, as_json=as_json))
    from waypost.cli.limits import online

    sys.exit(online.explain(os.environ, target, as_json=as_json, domain=domain, words=entries, hits=hits))


@limits.command(short_help="List the rules in force.", epilog=EXIT_CODES)
@click.option("--domain", default="", metavar="DOMAIN", help="Only of this domain.")
@both
def rules(domain: str, target: Target, as_json: bool) -> None:
    """List the rules that the rate limiter decides by. For operators.

    If a newer version of the files could not be loaded, standard error says why.
    """
    from waypost.cli.limits import online

    sys.exit(online.rules(os.environ, target, as_json=as_json, domain=domain))


@limits.command(short_help="Forget what a descriptor has used.", epilog=EXIT_CODES)
@click.argument("domain")
@click.argument("entries", metavar="KEY=VALUE [KEY=VALUE]", nargs=-1, required=True)
@click.option(
    "--of",
    default="",
    metavar="ID",
    help="Workspace whose callers were counted  [default: the counters of the mesh itself].",
)
@both
def reset(domain: str, entries: tuple[str, ...], of: str, target: Target, as_json: bool) -> None:
    """Forget what the descriptor of these entries has used in DOMAIN: its counters are as good as new. For operators.

    \b
    For example:
      waypost limits reset waypost \\
        route_class=create remote_address=192.0.2.7
    """
    from waypost.cli.limits import online

    sys.exit(online.reset(os.environ, target, as_json=as_json, domain=domain, words=entries, workspace=of))


limits.add_command(overrides)
