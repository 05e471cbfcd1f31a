"""The commands and their help; each imports what it needs when it runs, so that none waits for another's libraries."""

from __future__ import annotations

import json
import os
import sys

import click

import waypost
from waypost.cli.abuse.commands import abuse
from waypost.cli.audit.commands import audit
from waypost.cli.completion import CompletionCommand
from waypost.cli.identity.commands import keys, members, whoami, workspaces
from waypost.cli.limits.commands import limits
from waypost.cli.links_commands import links
from waypost.cli.options import CONTEXT, EXIT_CODES, json_option
from waypost.cli.transfer.commands import export_command, import_command


@click.group(context_settings=CONTEXT, epilog=EXIT_CODES)
@click.version_option(waypost.__version__, message="waypost %(version)s")
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
@json_option
def migrate(as_json: bool) -> None:
    """Bring the database of WAYPOST_DATABASE_URL to this version's schema.

    Safe to run again, and at the same time as others. `waypost up` does this by itself.
    """
    from waypost.cli import database

    sys.exit(database.migrate(os.environ, as_json=as_json))


@cli.command(short_help="Show the settings in force.", epilog=EXIT_CODES)
@json_option
def config(as_json: bool) -> None:
    """Show the settings in force, by process; secrets are masked.

    Settings are environment variables; `.env.example` in the source describes each.
    """
    from waypost.cli import configuration

    sys.exit(configuration.show(os.environ, as_json=as_json))


@cli.command("dev-token", short_help="Make a token for the mesh on this machine.", epilog=EXIT_CODES)
@click.option("--subject", metavar="NAME", default="dev", show_default=True, help="Whom it stands for (sub).")
@click.option("--email", metavar="ADDRESS", help="Their e-mail address, said to be verified  [default: none].")
@click.option(
    "--minutes",
    type=click.IntRange(1, 24 * 60),
    default=15,
    show_default=True,
    help="For how long it is good.",
)
@json_option
def dev_token(subject: str, email: str | None, minutes: int, as_json: bool) -> None:
    """Make a token (JWT) that `waypost up` on this machine believes: to try out what people may do.

    It is signed with a key in the data directory, which is there when Waypost runs with its own database and without
    WAYPOST_JWT_ISSUER. It says who somebody is; what they may do is for Waypost to know.

    \b
    For example:
      curl -H "authorization: Bearer $(waypost dev-token --subject ada)" \\
        http://127.0.0.1:8080/api/v1/urls
    """
    from waypost.cli import dev_token as tokens

    sys.exit(tokens.print_token(os.environ, subject=subject, email=email, minutes=minutes, as_json=as_json))


@cli.command()
@json_option
def version(as_json: bool) -> None:
    """Show the version of this Waypost."""
    click.echo(json.dumps({"version": waypost.__version__}) if as_json else f"waypost {waypost.__version__}")


@cli.command(cls=CompletionCommand, short_help="Print what makes a shell complete these commands.", epilog=EXIT_CODES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> None:
    """Print the script that makes SHELL complete `waypost` commands  [default: the shell of $SHELL].

    \b
    To have it in every new shell:
      bash:  echo 'eval "$(PROGRAM completion bash)"' >> ~/.bashrc
      zsh:   echo 'eval "$(PROGRAM completion zsh)"' >> ~/.zshrc
      fish:  PROGRAM completion fish > ~/.config/fish/completions/waypost.fish

    \b
    For the shell to find `waypost` itself:
      export PATH=FOLDER:$PATH
    """
    from waypost.cli import completion as commands

    sys.exit(commands.script(os.environ, shell, cli))


for command in (links, whoami, workspaces, members, keys, audit, abuse, limits):
    cli.add_command(command)
links.add_command(import_command)
links.add_command(export_command)


def main() -> None:
    """The entry point of the `waypost` command."""
    cli(prog_name="waypost")
