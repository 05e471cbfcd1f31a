"""The commands and their help; each imports what it needs when it runs, so that none waits for another's libraries."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

import waypost

EXIT_CODES = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage or setting, 3 no answer."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXIT_CODES)
def cli() -> None:
    """Waypost: short links that stay up under abuse.

    Start everything on this machine with `waypost up`, then try `waypost links create https://example.com/`.
    """


@cli.command()
def up() -> None:
    """Start the mesh and keep it running: PostgreSQL, gateway, ratelimiter, workers, Envoy.

    Ctrl-C stops all of it. Every port and folder is a setting: see `waypost config`.
    """
    from waypost.supervisor.up import up as run

    sys.exit(run(os.environ))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def migrate(as_json: bool) -> None:
    """Bring the database of WAYPOST_DATABASE_URL to this version's schema.

    Safe to run again and at the same time as others. `waypost up` does this by itself.
    """
    from waypost.cli import database

    sys.exit(database.migrate(os.environ, as_json=as_json))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(as_json: bool) -> None:
    """Show the settings in force, by process; secrets are masked.

    Settings are environment variables; `.env.example` in the source describes each.
    """
    from waypost.cli import configuration

    sys.exit(configuration.show(os.environ, as_json=as_json))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Show the version of this Waypost."""
    click.echo(f'{{"version":"{waypost.__version__}"}}' if as_json else f"waypost {waypost.__version__}")


@cli.group(epilog=EXIT_CODES)
def links() -> None:
    """Make, show and delete links of a running Waypost."""


def _link_options(command: Any) -> Any:
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON, errors too.")(command)
    return click.option(
        "--server", metavar="HOST:PORT", help="Where Waypost is [default: WAYPOST_SERVER, else 127.0.0.1:8080]."
    )(command)


@links.command()
@click.argument("url")
@click.option("--alias", default="", help="Short code to use: 3 to 64 of A-Z a-z 0-9 _ -  [default: a random one].")
@click.option("--ttl", type=int, metavar="SECONDS", help="Let the link expire after this time.")
@click.option("--redirect-status", type=click.Choice(["301", "302", "307", "308"]), help="HTTP status [default: 302].")
@_link_options
def create(
    url: str, alias: str, ttl: int | None, redirect_status: str | None, server: str | None, as_json: bool
) -> None:
    """Make a short link to URL and print its address."""
    from waypost.cli import links as commands

    sys.exit(
        commands.create(
            os.environ, server, as_json=as_json, url=url, alias=alias, ttl=ttl, status=int(redirect_status or 0)
        )
    )


@links.command()
@click.argument("short_code")
@_link_options
def get(short_code: str, server: str | None, as_json: bool) -> None:
    """Show the link with this SHORT_CODE."""
    from waypost.cli import links as commands

    sys.exit(commands.get(os.environ, server, as_json=as_json, short_code=short_code))


@links.command()
@click.argument("short_code")
@_link_options
def delete(short_code: str, server: str | None, as_json: bool) -> None:
    """Take the link with this SHORT_CODE out of service, for good."""
    from waypost.cli import links as commands

    sys.exit(commands.delete(os.environ, server, as_json=as_json, short_code=short_code))


def main() -> None:
    """The entry point of the `waypost` command."""
    cli(prog_name="waypost")
