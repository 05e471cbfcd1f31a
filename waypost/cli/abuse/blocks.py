"""`waypost abuse block`, `unblock` and `blocked`: one call each, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import click

from waypost.cli import listing
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.output import json_text, printable
from waypost.cli.session import run
from waypost.cli.show import timestamp
from waypost.cli.table import Column
from waypost.client import BlockedLink, Client
from waypost.client.channel import Server

Env = Mapping[str, str]


def blocked_object(link: BlockedLink) -> dict[str, Any]:
    """The link as the API has it in JSON."""
    return {
        "short_code": link.short_code,
        "original_url": link.original_url,
        "workspace_id": link.workspace_id,
        **({} if link.blocked_at is None else {"blocked_at": timestamp(link.blocked_at)}),
        "reason": link.reason,
    }


COLUMNS: Sequence[Column[BlockedLink]] = (
    Column("SHORT CODE", lambda link: link.short_code),
    Column("BLOCKED", lambda link: f"{link.blocked_at:%Y-%m-%d}" if link.blocked_at else "", worth=2),
    Column("REASON", lambda link: link.reason, least=12, worth=4),
    Column("WORKSPACE", lambda link: link.workspace_id, worth=1),
    Column("DESTINATION", lambda link: link.original_url, least=16, worth=3),
)

BLOCKED = Kind("blocked link", COLUMNS, blocked_object)


def block(env: Env, target: Target, *, as_json: bool, short_code: str, reason: str) -> int:
    """Blocks a link; prints what became of it. Returns the exit code, as all of these."""
    return _link(env, target, as_json, lambda client: client.abuse.block(short_code, reason), "blocked")


def unblock(env: Env, target: Target, *, as_json: bool, short_code: str, reason: str) -> int:
    """Puts a link back; prints what became of it."""
    return _link(env, target, as_json, lambda client: client.abuse.unblock(short_code, reason), "unblocked")


def show_all(env: Env, target: Target, *, as_json: bool, limit: int | None, everything: bool) -> int:
    """Lists the links that are blocked."""
    return listing.show(
        env,
        target,
        BLOCKED,
        lambda client, size, token: client.abuse.blocked_page(page_size=size, page_token=token),
        as_json=as_json,
        limit=limit,
        everything=everything,
    )


def _link(env: Env, target: Target, as_json: bool, call: Callable[[Client], Awaitable[BlockedLink]], verb: str) -> int:
    """Makes a call and prints the link that it returns."""

    async def work(client: Client, _: Server) -> int:
        link = await call(client)
        click.echo(json_text(blocked_object(link)) if as_json else printable(f"{verb} {link.short_code}"))
        return 0

    return run(env, target, work, as_json=as_json)
