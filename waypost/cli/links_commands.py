"""The commands of `waypost links` and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

import click

from waypost.cli.options import EXIT_CODES, Target, all_option, both, limit_option, request_id_option, target_options
from waypost.cli.short_code import ShortCode
from waypost.cli.ttl import Ttl

STATES = ["active", "warned", "expired", "exhausted", "blocked", "deleted"]
ORDERS = ["created_at desc", "created_at", "updated_at desc", "updated_at", "short_code", "short_code desc"]

_ttl = click.option("--ttl", type=Ttl(), metavar="TIME", help="Let the link expire after this time: 90s, 15m, 12h, 7d.")
_expires_at = click.option("--expires-at", metavar="TIME", help="Let the link expire then: 2030-01-31T12:00:00Z.")
_redirect_status = click.option(
    "--redirect-status", type=click.Choice(["301", "302", "307", "308"]), help="HTTP status of the redirect."
)
_max_clicks = click.option(
    "--max-clicks", type=int, metavar="N", help="Serve so many redirects in all, exactly; 0: any number."
)
_etag = click.option("--etag", default="", help="Only if the link is still in the state with this etag.")


@click.group(epilog=EXIT_CODES)
def links() -> None:
    """Make, find, change and delete links of a running Waypost.

    A SHORT_CODE may also be given as the whole short address.
    """


@links.command(short_help="Make a short link and print its address.", epilog=EXIT_CODES)
@click.argument("url")
@click.option("--alias", default="", help="Short code to use: 3 to 64 of A-Z a-z 0-9 _ -  [default: a random one].")
@click.option("--title", default="", help="What to call it; only you see it.")
@click.option("--tag", "tags", multiple=True, help="Label to find it by; may be given several times.")
@_ttl
@_expires_at
@_max_clicks
@_redirect_status
@click.option("--forward-query/--no-forward-query", default=False, help="Pass the short address' query string on.")
@request_id_option
@both
def create(target: Target, as_json: bool, **fields: Any) -> None:
    """Make a short link to URL and print its address.

    \b
    Examples:
      waypost links create https://example.com/
      waypost links create https://example.com/talk --alias talk --ttl 7d
      waypost links create https://example.com/ --tag spring --max-clicks 100
    """
    from waypost.cli import links as commands

    sys.exit(commands.create(os.environ, target, as_json=as_json, **fields))


@links.command(short_help="Show a link.", epilog=EXIT_CODES)
@click.argument("short_code", type=ShortCode())
@both
def get(short_code: str, target: Target, as_json: bool) -> None:
    """Show the link with this SHORT_CODE, whatever its state."""
    from waypost.cli import links as commands

    sys.exit(commands.get(os.environ, target, as_json=as_json, short_code=short_code))


@links.command("list", short_help="List links.", epilog=EXIT_CODES)
@click.option(
    "--state", type=click.Choice(STATES), metavar="STATE", help=f"Only those in this state: {', '.join(STATES)}."
)
@click.option("--tag", "tags", multiple=True, help="Only those with this tag; several: with all of them.")
@click.option(
    "--text",
    default="",
    help="Only those with all these words in title, code, host or path; `repo*` for what begins so.",
)
@click.option("--filter", "filter_text", default="", help="Only those that a filter of the API finds (see above).")
@click.option(
    "--order-by",
    type=click.Choice(ORDERS),
    metavar="ORDER",
    default=ORDERS[0],
    help="created_at, updated_at or short_code, also with ` desc`  [default: created_at desc].",
)
@limit_option
@all_option
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; with --all, a line of JSON for each link.")
def list_links(target: Target, as_json: bool, **wanted: Any) -> None:
    """List links, the newest first, as a table that fits the terminal. Deleted links only with `--state deleted`.

    \b
    Examples:
      waypost links list --tag "spring sale" --text "annual repo*"
      waypost links list --filter 'created_at >= "2026-01-31T00:00:00Z"' --all
      waypost links list --all --json > links.jsonl

    \b
    A filter is conditions joined by AND; the options above add to it:
      state = expired    tag = "spring sale"    text : "annual report"
      created_at >= "2026-01-31T00:00:00Z"   (also >, <, <=)
    """
    from waypost.cli import lists

    sys.exit(lists.show(os.environ, target, as_json=as_json, **wanted))


@links.command(short_help="Change a link.", epilog=EXIT_CODES)
@click.argument("short_code", type=ShortCode())
@click.option("--url", help="Let it lead there from now on.")
@click.option("--title", help="Call it so; an empty one takes the title away.")
@click.option("--tag", "tags", multiple=True, help="Label in place of those it has; may be given several times.")
@click.option("--no-tags", is_flag=True, help="Take all labels away.")
@_ttl
@_expires_at
@click.option("--no-expiry", is_flag=True, help="Let it never expire.")
@_max_clicks
@click.option("--no-max-clicks", is_flag=True, help="Serve any number of redirects.")
@_redirect_status
@click.option("--forward-query/--no-forward-query", default=None, help="Pass the short address' query string on.")
@_etag
@request_id_option
@both
def update(target: Target, as_json: bool, **changes: Any) -> None:
    """Change what is given of the link with this SHORT_CODE; the rest stays. Every redirect follows within a second.

    \b
    Examples:
      waypost links update talk --url https://example.com/slides
      waypost links update talk --tag past --no-expiry --etag v3
    """
    from waypost.cli import links as commands

    sys.exit(commands.update(os.environ, target, as_json=as_json, **changes))


@links.command(short_help="Take a link out of service.", epilog=EXIT_CODES)
@click.argument("short_code", type=ShortCode())
@_etag
@request_id_option
@both
def delete(target: Target, as_json: bool, **which: Any) -> None:
    """Take the link with this SHORT_CODE out of service.

    Its code is never handed out again; `waypost links undelete` puts the link back.
    """
    from waypost.cli import links as commands

    sys.exit(commands.delete(os.environ, target, as_json=as_json, **which))


@links.command(short_help="Put a deleted link back into service.", epilog=EXIT_CODES)
@click.argument("short_code", type=ShortCode())
@_etag
@request_id_option
@both
def undelete(target: Target, as_json: bool, **which: Any) -> None:
    """Put the deleted link with this SHORT_CODE back into service, just as it was."""
    from waypost.cli import links as commands

    sys.exit(commands.undelete(os.environ, target, as_json=as_json, **which))


@links.command(short_help="Say what a visit to a link would get.", epilog=EXIT_CODES)
@click.argument("short_code", type=ShortCode())
@both
def resolve(short_code: str, target: Target, as_json: bool) -> None:
    """Say what a visit to the link with this SHORT_CODE would get now. It counts as no click."""
    from waypost.cli import links as commands

    sys.exit(commands.resolve(os.environ, target, as_json=as_json, short_code=short_code))


@links.command(short_help="Make many links, one for each line of a file.", epilog=EXIT_CODES)
@click.argument("file", type=click.File("rb"))
@request_id_option
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each line; errors too.")
def batch(file: BinaryIO, request_id: str | None, target: Target, as_json: bool) -> None:
    """Make a link for each line of FILE (- for standard input) and print their addresses in order.

    A line is a URL, or JSON with the fields of a create. Lines that are refused stop no others; if there were any, the
    exit code is 1. Where a file is over the server's limit, the rest of it waits its turn.

    \b
    Examples:
      waypost links batch urls.txt
      echo '{"url": "https://example.com/", "title": "A"}' | waypost links batch -

    \b
    Fields: url, alias, title, tags, ttl_seconds, expires_at, max_clicks,
    redirect_status, forward_query.
    """
    from waypost.cli import batch as commands

    sys.exit(commands.create_all(os.environ, target, as_json=as_json, file=file, request_id=request_id))
