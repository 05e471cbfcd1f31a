"""`waypost links list`: links as a table, as JSON, or without end as lines of JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence

import click

from waypost.cli.output import WRONG_USAGE, fail
from waypost.cli.refusals import OPTIONS
from waypost.cli.session import run
from waypost.cli.show import link_object
from waypost.cli.table import Table
from waypost.client import Client, Link, link_filter
from waypost.client.channel import Server

DEFAULT_LIMIT = 50
PAGE = 500


def show(
    env: Mapping[str, str],
    server: str | None,
    *,
    as_json: bool,
    filter_text: str,
    state: str | None,
    tags: Sequence[str],
    text: str,
    order_by: str,
    limit: int | None,
    everything: bool,
) -> int:
    """Prints the links that match; returns the exit code."""
    if everything and limit is not None:
        return fail(WRONG_USAGE, "--all and --limit exclude each other: give one", as_json)
    short = link_filter(state=state or "", tags=tags, text=text)
    wanted = " AND ".join(part for part in (filter_text, short) if part)
    # Whoever wrote none of it is shown what the position in it refers to.
    names = {**OPTIONS, "filter": f"the filter {wanted}"} if short else OPTIONS

    async def work(client: Client, _: Server) -> int:
        pages = _pages(client, wanted, order_by, None if everything else limit or DEFAULT_LIMIT)
        if as_json:
            await (_json_lines(pages) if everything else _json_array(pages))
        else:
            await _table(pages)
        return 0

    return run(env, server, work, as_json=as_json, names=names)


async def _pages(
    client: Client, wanted: str, order_by: str, limit: int | None
) -> AsyncIterator[tuple[list[Link], bool]]:
    """Pages up to the limit (None: all there are), each with whether there are more links than were shown by then."""
    token, left = "", limit
    while True:
        page = await client.list_page(
            filter=wanted, order_by=order_by, page_size=PAGE if left is None else min(left, PAGE), page_token=token
        )
        token = page.next_page_token
        links = list(page.links if left is None else page.links[:left])
        if left is not None:
            left -= len(links)
        yield links, bool(token)
        if not token or left == 0:
            return


async def _json_array(pages: AsyncIterator[tuple[list[Link], bool]]) -> None:
    links = [link_object(link) async for page, _ in pages for link in page]
    click.echo(json.dumps(links, indent=2, ensure_ascii=False))


async def _json_lines(pages: AsyncIterator[tuple[list[Link], bool]]) -> None:
    async for page, _ in pages:
        for link in page:
            click.echo(json.dumps(link_object(link), ensure_ascii=False))


async def _table(pages: AsyncIterator[tuple[list[Link], bool]]) -> None:
    table, incomplete, shown = None, False, 0
    async for page, more in pages:
        incomplete = more
        if table is None and page:
            table = Table(page, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
            click.echo(table.head())
        for link in page:
            assert table is not None  # noqa: S101
            click.echo(table.row(link))
        shown += len(page)
    # Not among the links: whatever reads them wants nothing else.
    if not shown:
        click.echo("no links", err=True)
    elif incomplete:
        click.echo(f"the first {shown:,}; more with --limit N, all with --all", err=True)
