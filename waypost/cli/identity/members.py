"""`waypost members`: one call each, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import click

from waypost.cli import listing
from waypost.cli.identity.show import member_object
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.output import WRONG_USAGE, fail, json_text, printable
from waypost.cli.refusals import OPTIONS
from waypost.cli.session import run
from waypost.cli.table import Column
from waypost.client import UNSET, Client, Member
from waypost.client.channel import Server

Env = Mapping[str, str]

COLUMNS: Sequence[Column[Member]] = (
    Column("SUBJECT", lambda member: member.subject),
    Column("ROLE", lambda member: member.role.value),
    Column("ADDED", lambda member: f"{member.created_at:%Y-%m-%d}", worth=1),
    Column("NAME", lambda member: member.name, least=8, worth=2),
)

MEMBERS = Kind("member", COLUMNS, member_object)

_NAMES = {**OPTIONS, "name": "--name"}


def add(env: Env, target: Target, *, as_json: bool, subject: str, role: str, name: str) -> int:
    """Adds somebody; prints what became of it. Returns the exit code, as all of these."""
    return _member(
        env,
        target,
        as_json,
        lambda client: client.members.add(subject, role, name=name),
        lambda member: f"added {member.subject} as {member.role}",
    )


def show_all(env: Env, target: Target, *, as_json: bool, limit: int | None, everything: bool) -> int:
    """Lists the members."""
    return listing.show(
        env,
        target,
        MEMBERS,
        lambda client, size, token: client.members.list_page(page_size=size, page_token=token),
        as_json=as_json,
        limit=limit,
        everything=everything,
    )


def change(env: Env, target: Target, *, as_json: bool, subject: str, role: str | None, name: str | None) -> int:
    """Gives a member another role or name; prints what became of it."""
    if role is None and name is None:
        return fail(WRONG_USAGE, "nothing to change: give --role or --name", as_json)

    def call(client: Client) -> Awaitable[Member]:
        return client.members.update(
            subject, role=UNSET if role is None else role, name=UNSET if name is None else name
        )

    return _member(env, target, as_json, call, lambda member: f"updated {member.subject}, {member.role}")


def remove(env: Env, target: Target, *, as_json: bool, subject: str) -> int:
    """Takes a member out; prints what became of it."""
    return _member(
        env,
        target,
        as_json,
        lambda client: client.members.remove(subject),
        lambda member: f"removed {member.subject}, who was {member.role}",
    )


def _member(
    env: Env,
    target: Target,
    as_json: bool,
    call: Callable[[Client], Awaitable[Member]],
    text: Callable[[Member], str],
) -> int:
    """Makes a call and prints the member that it returns."""

    async def work(client: Client, _: Server) -> int:
        member = await call(client)
        click.echo(json_text(member_object(member)) if as_json else printable(text(member)))
        return 0

    return run(env, target, work, as_json=as_json, names=_NAMES)
