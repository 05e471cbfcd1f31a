"""`waypost keys`: one call each, and what it says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import click

from waypost.cli import listing
from waypost.cli.identity.show import key_card, key_object, key_state
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.output import FAILED, WRONG_USAGE, fail, json_text, printable
from waypost.cli.session import run
from waypost.cli.table import Column
from waypost.cli.usage import WrongUsage, expiry
from waypost.client import Client, Key, NewKey
from waypost.client.channel import Server
from waypost.errors import DeadlineExceeded, DependencyUnavailable

Env = Mapping[str, str]

COLUMNS: Sequence[Column[Key]] = (
    Column("ID", lambda key: key.key_id),
    Column("STATE", lambda key: key_state(key, datetime.now(UTC))),
    Column("ROLE", lambda key: key.role.value),
    Column("CREATED", lambda key: f"{key.created_at:%Y-%m-%d}", worth=2),
    Column("EXPIRES", lambda key: f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "", worth=3),
    Column("LAST USED", lambda key: f"{key.last_used_at:%Y-%m-%d}" if key.last_used_at else "", worth=4),
    Column("NAME", lambda key: key.name, least=8, worth=5),
    Column("SCOPES", lambda key: " ".join(key.scopes), least=12, worth=1),
)

KEYS = Kind("key", COLUMNS, key_object)


def create(
    env: Env,
    target: Target,
    *,
    as_json: bool,
    name: str,
    role: str,
    scopes: Sequence[str],
    ttl: int | None,
    expires_at: str | None,
    quiet: bool,
) -> int:
    """Makes a key; prints its secret, this once. Returns the exit code, as all of these."""
    try:
        ends = expiry(ttl, expires_at)
    except WrongUsage as error:
        return fail(WRONG_USAGE, str(error), as_json)

    async def work(client: Client, _: Server) -> int:
        try:
            new = await client.keys.create(
                name,
                role=role,
                scopes=scopes,
                ttl=None if ttl is None else timedelta(seconds=ttl),
                expires_at=ends,
            )
        except (DeadlineExceeded, DependencyUnavailable):
            if not (as_json or quiet):
                _remark("it may have been made all the same: if `waypost keys list` shows it, revoke it")
            raise
        return _tell(new, as_json=as_json, quiet=quiet)

    return run(env, target, work, as_json=as_json)


def _tell(new: NewKey, *, as_json: bool, quiet: bool) -> int:
    key = new.key
    try:
        click.echo(json_text({"key": key_object(key), "secret": new.secret}) if as_json else new.secret)
    except OSError as error:
        # What is left in the buffer would fail once more at Python's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        lost = f"the key {key.key_id} was made, but could not be printed: {error.strerror}; revoke it with"
        return fail(FAILED, f"{lost} `waypost keys revoke {key.key_id}`", as_json)
    if not (as_json or quiet):
        _remark(f"this is the key {key.name} ({key.role}); it cannot be read again, so keep it safe")
    return 0


def _remark(text: str) -> None:
    # Beside the key, not with it: standard output may be a file that is to hold the key alone.
    click.echo(printable(f"waypost: {text}"), err=True)


def show_all(env: Env, target: Target, *, as_json: bool, limit: int | None, everything: bool) -> int:
    """Lists the keys."""
    return listing.show(
        env,
        target,
        KEYS,
        lambda client, size, token: client.keys.list_page(page_size=size, page_token=token),
        as_json=as_json,
        limit=limit,
        everything=everything,
    )


def show(env: Env, target: Target, *, as_json: bool, key_id: str) -> int:
    """Shows a key."""

    async def work(client: Client, _: Server) -> int:
        key = await client.keys.get(key_id)
        click.echo(json_text(key_object(key)) if as_json else key_card(key))
        return 0

    return run(env, target, work, as_json=as_json)


def revoke(env: Env, target: Target, *, as_json: bool, key_id: str) -> int:
    """Takes a key back; prints what became of it."""

    async def work(client: Client, _: Server) -> int:
        key = await client.keys.revoke(key_id)
        click.echo(json_text(key_object(key)) if as_json else printable(f"revoked {key.key_id}, {key.name}"))
        return 0

    return run(env, target, work, as_json=as_json)
