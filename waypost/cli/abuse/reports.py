"""`waypost abuse report`, `reports` and `close`: one call each, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from waypost.cli import listing
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.output import json_text, printable
from waypost.cli.refusals import OPTIONS
from waypost.cli.session import run
from waypost.cli.show import timestamp
from waypost.cli.table import Column
from waypost.client import Client, Report
from waypost.client.channel import Server

Env = Mapping[str, str]


def report_object(report: Report) -> dict[str, Any]:
    """The report as the API has it in JSON."""
    return {
        "report_id": report.report_id,
        "short_code": report.short_code,
        "category": f"REPORT_CATEGORY_{report.category.upper()}",
        "comment": report.comment,
        "contact": report.contact,
        "created_at": timestamp(report.created_at),
        **({} if report.closed_at is None else {"closed_at": timestamp(report.closed_at)}),
        "original_url": report.original_url,
        "blocked": report.blocked,
        "workspace_id": report.workspace_id,
    }


COLUMNS: Sequence[Column[Report]] = (
    Column("ID", lambda report: report.report_id),
    Column("LINK", lambda report: report.short_code),
    Column("CATEGORY", lambda report: report.category.value, worth=4),
    Column("REPORTED", lambda report: f"{report.created_at:%Y-%m-%d}", worth=3),
    Column("BLOCKED", lambda report: "yes" if report.blocked else "", worth=5),
    Column("CONTACT", lambda report: report.contact, least=8, worth=1),
    Column("COMMENT", lambda report: report.comment, least=12, worth=6),
    Column("DESTINATION", lambda report: report.original_url, least=16, worth=2),
)

REPORTS = Kind("report", COLUMNS, report_object)


def report(env: Env, target: Target, *, as_json: bool, link: str, category: str, comment: str, contact: str) -> int:
    """Reports a link; prints the report's id. Returns the exit code, as all of these."""

    async def work(client: Client, _: Server) -> int:
        report_id = await client.abuse.report(link, category=category, comment=comment, contact=contact)
        click.echo(json_text({"report_id": report_id}) if as_json else printable(report_id))
        return 0

    return run(env, target, work, as_json=as_json)


def show_all(
    env: Env, target: Target, *, as_json: bool, closed: bool, short_code: str, limit: int | None, everything: bool
) -> int:
    """Lists reports."""
    return listing.show(
        env,
        target,
        REPORTS,
        lambda client, size, token: client.abuse.reports_page(
            closed=closed, short_code=short_code, page_size=size, page_token=token
        ),
        as_json=as_json,
        limit=limit,
        everything=everything,
        names={**OPTIONS, "link": "--link"},
    )


def close(env: Env, target: Target, *, as_json: bool, report_id: str) -> int:
    """Closes a report; prints what became of it."""

    async def work(client: Client, _: Server) -> int:
        closed = await client.abuse.close(report_id)
        said = f"closed {closed.report_id}, of {closed.short_code}"
        click.echo(json_text(report_object(closed)) if as_json else printable(said))
        return 0

    return run(env, target, work, as_json=as_json)
