"""The commands of `waypost abuse` and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from waypost.cli.options import EXIT_CODES, Target, both, listing
from waypost.cli.short_code import ShortCode

CATEGORIES = ["phishing", "malware", "spam", "illegal", "other"]


@click.group(short_help="Report harmful links, and block them.", epilog=EXIT_CODES)
def abuse() -> None:
    """Report harmful links, and as an operator take them out of service.

    A SHORT_CODE may also be given as the whole short address.
    """


@abuse.command(short_help="Report a link to the operators.", epilog=EXIT_CODES)
@click.argument("link")
@click.option("--category", type=click.Choice(CATEGORIES), default="other", help="What is wrong  [default: other].")
@click.option("--comment", default="", help="More about it, for people.")
@click.option("--contact", default="", help="How to reach you, if you like.")
@both
def report(target: Target, as_json: bool, **fields: Any) -> None:
    """Report LINK, a short code or a whole short address, to the operators and print the report's id.

    Anybody may: it needs no credentials.

    \b
    Example:
      waypost abuse report https://go.example.com/x7Kp2mQ --category phishing
    """
    from waypost.cli.abuse import reports as calls

    sys.exit(calls.report(os.environ, target, as_json=as_json, **fields))


@abuse.command(short_help="List reports.", epilog=EXIT_CODES)
@click.option("--closed", is_flag=True, help="Those that are closed, not those that are open.")
@click.option("--link", "short_code", type=ShortCode(), default="", metavar="SHORT_CODE", help="Only of this link.")
@listing
def reports(target: Target, as_json: bool, **wanted: Any) -> None:
    """List reports of links of all workspaces, the oldest first. For operators.

    What a report says was written by a stranger, and where its link leads is not to be opened without care.
    """
    from waypost.cli.abuse import reports as calls

    sys.exit(calls.show_all(os.environ, target, as_json=as_json, **wanted))


@abuse.command(short_help="Close a report without blocking its link.", epilog=EXIT_CODES)
@click.argument("report_id")
@both
def close(report_id: str, target: Target, as_json: bool) -> None:
    """Close the report with this REPORT_ID; its link stays as it is. For operators.

    `waypost abuse block` closes the open reports of its link by itself.
    """
    from waypost.cli.abuse import reports as calls

    sys.exit(calls.close(os.environ, target, as_json=as_json, report_id=report_id))


@abuse.command(short_help="Block a link, whosever it is.", epilog=EXIT_CODES)
@click.argument("short_code", type=ShortCode())
@click.option("--reason", required=True, help="Why, for other operators and the audit log.")
@both
def block(short_code: str, reason: str, target: Target, as_json: bool) -> None:
    """Take the link with this SHORT_CODE out of service, whosever it is. For operators.

    Within a second it answers 451 everywhere. Blocking a blocked link changes the reason.

    \b
    Example:
      waypost abuse block x7Kp2mQ --reason "imitates a bank"
    """
    from waypost.cli.abuse import blocks as calls

    sys.exit(calls.block(os.environ, target, as_json=as_json, short_code=short_code, reason=reason))


@abuse.command(short_help="Put a blocked link back into service.", epilog=EXIT_CODES)
@click.argument("short_code", type=ShortCode())
@click.option("--reason", required=True, help="Why, for the audit log.")
@both
def unblock(short_code: str, reason: str, target: Target, as_json: bool) -> None:
    """Put the blocked link with this SHORT_CODE back into service. For operators."""
    from waypost.cli.abuse import blocks as calls

    sys.exit(calls.unblock(os.environ, target, as_json=as_json, short_code=short_code, reason=reason))


@abuse.command(short_help="List the links that are blocked.", epilog=EXIT_CODES)
@listing
def blocked(target: Target, as_json: bool, limit: int | None, everything: bool) -> None:
    """List the links of all workspaces that are blocked, the latest first. For operators."""
    from waypost.cli.abuse import blocks as calls

    sys.exit(calls.show_all(os.environ, target, as_json=as_json, limit=limit, everything=everything))
