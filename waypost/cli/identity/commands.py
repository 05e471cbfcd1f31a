"""The commands of identity and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from waypost.cli.identity.key_id import KeyId
from waypost.cli.options import EXIT_CODES, Target, both, listing
from waypost.cli.ttl import Ttl

MEMBER_ROLES = ["viewer", "editor", "owner"]
KEY_ROLES = [*MEMBER_ROLES, "operator"]


@click.command(short_help="Say who you are taken for.", epilog=EXIT_CODES)
@both
def whoami(target: Target, as_json: bool) -> None:
    """Say who the server takes you for, and what you may do in the workspace that your calls run in.

    \b
    The environment says who you are (options could be seen by others):
      WAYPOST_API_KEY       an API key
      WAYPOST_API_KEY_FILE  a file with one
      WAYPOST_TOKEN         a token of an identity provider
    Without any of them, a server on this machine gets the operator key that
    `waypost up` has put in its data directory, if you can read it.
    """
    from waypost.cli.identity import workspaces as calls

    sys.exit(calls.whoami(os.environ, target, as_json=as_json))


@click.group(short_help="Make, find and rename workspaces.", epilog=EXIT_CODES)
def workspaces() -> None:
    """Make, find and rename workspaces: links, keys and members belong to one."""


@workspaces.command(short_help="Make a workspace and print its id.", epilog=EXIT_CODES)
@click.argument("name")
@click.option("--owner", metavar="SUBJECT", default="", help="Who is to own it, by the subject of their tokens.")
@both
def create(name: str, owner: str, target: Target, as_json: bool) -> None:
    """Make a workspace called NAME and print its id. For operators.

    \b
    Example:
      ID=$(waypost workspaces create "Spring sale")
      waypost keys create first --role owner --workspace "$ID"
    """
    from waypost.cli.identity import workspaces as calls

    sys.exit(calls.create(os.environ, target, as_json=as_json, name=name, owner=owner))


@workspaces.command("list", short_help="List the workspaces that you may work in.", epilog=EXIT_CODES)
@listing
def list_workspaces(target: Target, as_json: bool, limit: int | None, everything: bool) -> None:
    """List the workspaces that you may name by `--workspace` or WAYPOST_WORKSPACE; operators see all."""
    from waypost.cli.identity import workspaces as calls

    sys.exit(calls.show_all(os.environ, target, as_json=as_json, limit=limit, everything=everything))


@workspaces.command(short_help="Show the workspace that you work in.", epilog=EXIT_CODES)
@both
def show(target: Target, as_json: bool) -> None:
    """Show the workspace that you work in."""
    from waypost.cli.identity import workspaces as calls

    sys.exit(calls.show(os.environ, target, as_json=as_json))


@workspaces.command(short_help="Rename the workspace that you work in.", epilog=EXIT_CODES)
@click.argument("name")
@both
def rename(name: str, target: Target, as_json: bool) -> None:
    """Call the workspace that you work in NAME."""
    from waypost.cli.identity import workspaces as calls

    sys.exit(calls.rename(os.environ, target, as_json=as_json, name=name))


@click.group(short_help="Say which people may do what.", epilog=EXIT_CODES)
def members() -> None:
    """Say which people may do what in a workspace. A SUBJECT is that of their tokens: see `waypost whoami`."""


@members.command(short_help="Add somebody.", epilog=EXIT_CODES)
@click.argument("subject")
@click.option("--role", type=click.Choice(MEMBER_ROLES), required=True, help="What they may do.")
@click.option("--name", default="", help="What to call them; only people read it.")
@both
def add(target: Target, as_json: bool, **fields: Any) -> None:
    """Add the person with this SUBJECT to the workspace. They are in within a second.

    \b
    Roles: viewer  sees links and members
           editor  also makes and changes links
           owner   also manages members and keys, and reads the audit log

    \b
    Example:
      waypost members add ann@example.com --role editor --name "Ann"
    """
    from waypost.cli.identity import members as calls

    sys.exit(calls.add(os.environ, target, as_json=as_json, **fields))


@members.command("list", short_help="List the members.", epilog=EXIT_CODES)
@listing
def list_members(target: Target, as_json: bool, limit: int | None, everything: bool) -> None:
    """List the members of the workspace, by their subjects."""
    from waypost.cli.identity import members as calls

    sys.exit(calls.show_all(os.environ, target, as_json=as_json, limit=limit, everything=everything))


@members.command("set", short_help="Give a member another role or name.", epilog=EXIT_CODES)
@click.argument("subject")
@click.option("--role", type=click.Choice(MEMBER_ROLES), help="What they may do from now on.")
@click.option("--name", help="What to call them; an empty one takes the name away.")
@both
def set_member(target: Target, as_json: bool, **fields: Any) -> None:
    """Give the member with this SUBJECT another role or name. A new role holds within a second."""
    from waypost.cli.identity import members as calls

    sys.exit(calls.change(os.environ, target, as_json=as_json, **fields))


@members.command(short_help="Take a member out.", epilog=EXIT_CODES)
@click.argument("subject")
@both
def remove(subject: str, target: Target, as_json: bool) -> None:
    """Take the member with this SUBJECT out of the workspace, within a second. What they made stays."""
    from waypost.cli.identity import members as calls

    sys.exit(calls.remove(os.environ, target, as_json=as_json, subject=subject))


@click.group(short_help="Make, find and revoke API keys.", epilog=EXIT_CODES)
def keys() -> None:
    """Make, find and revoke API keys, with which programs call.

    A KEY_ID is what stands between `wp_` and the dot; a whole key may be given as well.
    """


@keys.command("create", short_help="Make a key and print it, this once.", epilog=EXIT_CODES)
@click.argument("name")
@click.option("--role", type=click.Choice(KEY_ROLES), default="editor", help="What it may do  [default: editor].")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="Of that, only this (links:read, links:write, limits:check, workspace:read, …); may be given several times.",
)
@click.option("--ttl", type=Ttl(), metavar="TIME", help="Let it expire after this time: 90s, 15m, 12h, 7d.")
@click.option("--expires-at", metavar="TIME", help="Let it expire then: 2030-01-31T12:00:00Z.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing beside the key.")
@both
def create_key(target: Target, as_json: bool, **fields: Any) -> None:
    """Make a key called NAME and print the whole of it, which cannot be read again.

    Standard output has the key alone. A key can do no more than you.

    \b
    Examples:
      waypost keys create ci --ttl 90d
      waypost keys create reports --role viewer --quiet > reports.key
      waypost keys create importer --scope links:write --json
    """
    from waypost.cli.identity import keys as calls

    sys.exit(calls.create(os.environ, target, as_json=as_json, **fields))


@keys.command("list", short_help="List the keys.", epilog=EXIT_CODES)
@listing
def list_keys(target: Target, as_json: bool, limit: int | None, everything: bool) -> None:
    """List the workspace's keys, the newest first, also revoked and expired ones. Nobody can list their secrets."""
    from waypost.cli.identity import keys as calls

    sys.exit(calls.show_all(os.environ, target, as_json=as_json, limit=limit, everything=everything))


@keys.command("show", short_help="Show a key.", epilog=EXIT_CODES)
@click.argument("key_id", type=KeyId())
@both
def show_key(key_id: str, target: Target, as_json: bool) -> None:
    """Show the key with this KEY_ID, without its secret."""
    from waypost.cli.identity import keys as calls

    sys.exit(calls.show(os.environ, target, as_json=as_json, key_id=key_id))


@keys.command(short_help="Take a key back, for good.", epilog=EXIT_CODES)
@click.argument("key_id", type=KeyId())
@both
def revoke(key_id: str, target: Target, as_json: bool) -> None:
    """Take the key with this KEY_ID back, for good: nobody knows it any more within a second."""
    from waypost.cli.identity import keys as calls

    sys.exit(calls.revoke(os.environ, target, as_json=as_json, key_id=key_id))
