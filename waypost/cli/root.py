"""The commands and their help; each imports what it needs when it runs, so that none waits for another's libraries."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

import waypost
from waypost.cli.ttl import Ttl

EXIT_CODES = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage or setting, 3 no answer."
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, errors too.")


@click.group(context_settings=CONTEXT, epilog=EXIT_CODES)
def cli() -> None:
    """Waypost: short links that stay up under abuse.

    \b
    Start everything on this machine, then make a link:
      waypost up
      waypost links create https://example.com/
    """


@cli.command(short_help="Start everything on this machine and keep it running.")
def up() -> None:
    """Start everything on this machine and keep it running: PostgreSQL, gateway, ratelimiter, workers, Envoy.

    Says `waypost: ready` and the address when links can be made; Ctrl-C stops all of it. Every port and folder is a
    setting: see `waypost config`.

    Exit codes: 0 told to stop, 1 something failed, 2 wrong setting, port or data directory (said in one line).

    \b
    Elsewhere than usual:
      WAYPOST_HTTP_PORT=8090 WAYPOST_DATA_DIR=/srv/waypost waypost up
    """
    from waypost.supervisor.up import up as run

    sys.exit(run(os.environ))


@cli.command(short_help="Bring your own database to this version's schema.", epilog=EXIT_CODES)
@_json
def migrate(as_json: bool) -> None:
    """Bring the database of WAYPOST_DATABASE_URL to this version's schema.

    Safe to run again, and at the same time as others. `waypost up` does this by itself.
    """
    from waypost.cli import database

    sys.exit(database.migrate(os.environ, as_json=as_json))


@cli.command(short_help="Show the settings in force.", epilog=EXIT_CODES)
@_json
def config(as_json: bool) -> None:
    """Show the settings in force, by process; secrets are masked.

    Settings are environment variables; `.env.example` in the source describes each.
    """
    from waypost.cli import configuration

    sys.exit(configuration.show(os.environ, as_json=as_json))


@cli.command()
@_json
def version(as_json: bool) -> None:
    """Show the version of this Waypost."""
    click.echo(json.dumps({"version": waypost.__version__}) if as_json else f"waypost {waypost.__version__}")


@cli.group(epilog=EXIT_CODES)
def links() -> None:
    """Make, show and delete links of a running Waypost."""


def _link_options(command: Any) -> Any:
    return click.option(
        "--server",
        metavar="HOST:PORT",
        help="Where Waypost is, also as https://HOST  [default: WAYPOST_SERVER, else that of `waypost up` here].",
    )(_json(command))


@links.command(short_help="Make a short link and print its address.", epilog=EXIT_CODES)
@click.argument("url")
@click.option("--alias", default="", help="Short code to use: 3 to 64 of A-Z a-z 0-9 _ -  [default: a random one].")
@click.option("--ttl", type=Ttl(), metavar="TIME", help="Let the link expire after this time: 90s, 15m, 12h, 7d.")
@click.option("--expires-at", metavar="TIME", help="Let the link expire then: 2030-01-31T12:00:00Z.")
@click.option("--redirect-status", type=click.Choice(["301", "302", "307", "308"]), help="HTTP status [default: 302].")
@_link_options
def create(
    url: str,
    alias: str,
    ttl: int | None,
    expires_at: str | None,
    redirect_status: str | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Make a short link to URL and print its address.

    \b
    Examples:
      waypost links create https://example.com/
      waypost links create https://example.com/talk --alias talk --ttl 7d
    """
    from waypost.cli import links as commands

    sys.exit(
        commands.create(
            os.environ,
            server,
            as_json=as_json,
            url=url,
            alias=alias,
            ttl=ttl,
            expires_at=expires_at,
            status=int(redirect_status or 0),
        )
    )


@links.command(short_help="Show a link.", epilog=EXIT_CODES)
@click.argument("short_code")
@_link_options
def get(short_code: str, server: str | None, as_json: bool) -> None:
    """Show the link with this SHORT_CODE, whatever its state."""
    from waypost.cli import links as commands

    sys.exit(commands.get(os.environ, server, as_json=as_json, short_code=short_code))


@links.command(short_help="Take a link out of service, for good.", epilog=EXIT_CODES)
@click.argument("short_code")
@_link_options
def delete(short_code: str, server: str | None, as_json: bool) -> None:
    """Take the link with this SHORT_CODE out of service, for good: its code is never handed out again."""
    from waypost.cli import links as commands

    sys.exit(commands.delete(os.environ, server, as_json=as_json, short_code=short_code))


def main() -> None:
    """The entry point of the `waypost` command."""
    cli(prog_name="waypost")
