"""`waypost limits overrides list`, `set` and `delete`: one call each, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import click

from waypost.cli import listing
from waypost.cli.limits.online import NAMES
from waypost.cli.limits.show import entries_of, entries_text, numbers_text, override_object
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.output import WRONG_USAGE, fail, json_text, printable
from waypost.cli.session import run
from waypost.cli.table import Column
from waypost.cli.usage import WrongUsage, expiry
from waypost.client import Client, LimitOverride
from waypost.client.channel import Server

Env = Mapping[str, str]

COLUMNS: Sequence[Column[LimitOverride]] = (
    Column("ID", lambda override: override.override_id),
    Column("DOMAIN", lambda override: override.domain, worth=5),
    Column("DESCRIPTOR", lambda override: entries_text(override.entries), least=16, worth=6),
    Column("LIMIT", numbers_text, worth=7),
    Column("EXPIRES", lambda override: f"{override.expires_at:%Y-%m-%d}" if override.expires_at else "", worth=4),
    Column("REASON", lambda override: override.reason, least=12, worth=3),
    Column("SET", lambda override: f"{override.created_at:%Y-%m-%d}", worth=2),
    Column("BY", lambda override: override.created_by, worth=1),
)

OVERRIDES = Kind("override", COLUMNS, override_object, page_size=500)


def set_one(
    env: Env,
    target: Target,
    *,
    as_json: bool,
    domain: str,
    words: Sequence[str],
    limit: int | None,
    per: str | None,
    burst: int,
    unlimited: bool,
    reason: str,
    ttl: int | None,
    expires_at: str | None,
) -> int:
    """Sets an override; prints it. Returns the exit code, as all of these."""
    try:
        if unlimited is (limit is not None):
            raise WrongUsage("give --limit and --per, or else --unlimited")
        ends = expiry(ttl, expires_at)
    except WrongUsage as error:
        return fail(WRONG_USAGE, str(error), as_json)
    if ttl is not None:
        ends = datetime.now(UTC) + timedelta(seconds=ttl)

    async def work(client: Client, _: Server) -> int:
        override = await client.overrides.set(
            domain,
            entries_of(words),
            requests_per_unit=limit or 0,
            unit=per,
            burst=burst,
            unlimited=unlimited,
            reason=reason,
            expires_at=ends,
        )
        said = f"{entries_text(override.entries)}: {numbers_text(override)} ({override.override_id})"
        click.echo(json_text(override_object(override)) if as_json else printable(said))
        return 0

    return run(env, target, work, as_json=as_json, names=NAMES)


def show_all(env: Env, target: Target, *, as_json: bool, domain: str, limit: int | None, everything: bool) -> int:
    """Lists overrides."""
    return listing.show(
        env,
        target,
        OVERRIDES,
        lambda client, size, token: client.overrides.list_page(domain, page_size=size, page_token=token),
        as_json=as_json,
        limit=limit,
        everything=everything,
        names={**NAMES, "domain": "--domain"},
    )


def delete(env: Env, target: Target, *, as_json: bool, override_id: str) -> int:
    """Deletes an override; prints what it was."""

    async def work(client: Client, _: Server) -> int:
        override = await client.overrides.delete(override_id)
        said = f"{entries_text(override.entries)}: {numbers_text(override)} no longer ({override.override_id})"
        click.echo(json_text(override_object(override)) if as_json else printable(said))
        return 0

    return run(env, target, work, as_json=as_json, names=NAMES)
