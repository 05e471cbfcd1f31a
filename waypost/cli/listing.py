"""Lists that come in pages: as a table, as a JSON array, or without end as lines of JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

from waypost.cli.options import Target
from waypost.cli.output import WRONG_USAGE, fail, json_text
from waypost.cli.refusals import OPTIONS
from waypost.cli.session import run
from waypost.cli.table import Column, Table
from waypost.client import Client, Listed
from waypost.client.channel import Server

T = TypeVar("T")

DEFAULT_LIMIT = 50

PageAfter = Callable[[Client, int, str], Awaitable[Listed[T]]]
"""Asks for the page of this size behind this token."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What is listed: what one is called, its table, its JSON, and how many a page may have."""

    noun: str
    columns: Sequence[Column[T]]
    as_object: Callable[[T], dict[str, Any]]
    page_size: int = 200


def show(
    env: Mapping[str, str],
    target: Target,
    kind: Kind[T],
    page_after: PageAfter[T],
    *,
    as_json: bool,
    limit: int | None,
    everything: bool,
    names: Mapping[str, str] = OPTIONS,
) -> int:
    """Prints up to `limit` of them (None: the default), or all there are; returns the exit code."""
    if everything and limit is not None:
        return fail(WRONG_USAGE, "--all and --limit exclude each other: give one", as_json)

    async def work(client: Client, _: Server) -> int:
        pages = _pages(
            lambda size, token: page_after(client, size, token),
            kind.page_size,
            None if everything else limit or DEFAULT_LIMIT,
        )
        if not as_json:
            await _table(kind, pages)
        elif everything:
            await _json_lines(kind, pages)
        else:
            click.echo(json_text([kind.as_object(item) async for page, _ in pages for item in page]))
        return 0

    return run(env, target, work, as_json=as_json, names=names)


async def _pages(
    page_after: Callable[[int, str], Awaitable[Listed[T]]], size: int, limit: int | None
) -> AsyncIterator[tuple[Sequence[T], bool]]:
    """Pages up to the limit (None: all there are), each with whether there are more than were shown by then."""
    token, left = "", limit
    while True:
        page = await page_after(size if left is None else min(left, size), token)
        token = page.next_page_token
        items = page.items if left is None else page.items[:left]
        if left is not None:
            left -= len(items)
        yield items, bool(token)
        if not token or left == 0:
            return


async def _json_lines(kind: Kind[T], pages: AsyncIterator[tuple[Sequence[T], bool]]) -> None:
    async for page, _ in pages:
        for item in page:
            click.echo(json_text(kind.as_object(item), indent=None))


async def _table(kind: Kind[T], pages: AsyncIterator[tuple[Sequence[T], bool]]) -> None:
    table, incomplete, shown = None, False, 0
    async for page, more in pages:
        incomplete = more
        if table is None and page:
            table = Table(kind.columns, page, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
            click.echo(table.head())
        for item in page:
            assert table is not None  # noqa: S101
            click.echo(table.row(item))
        shown += len(page)
    # Not among the rows: whatever reads them wants nothing else.
    if not shown:
        click.echo(f"no {kind.noun}s", err=True)
    elif incomplete:
        click.echo(f"the first {shown:,}; more with --limit N, all with --all", err=True)
