"""`waypost links create`, `get`, `update`, `delete`, `undelete` and `resolve`: one call each, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

import click

from waypost.cli.options import Target
from waypost.cli.output import WRONG_USAGE, fail, json_text
from waypost.cli.refusals import OPTIONS
from waypost.cli.session import run
from waypost.cli.show import link_card, link_object, resolution_card, resolution_object
from waypost.cli.usage import WrongUsage, expiry, one_of
from waypost.client import UNSET, Client, Link, Unset
from waypost.client.channel import Server

Env = Mapping[str, str]


def create(
    env: Env,
    target: Target,
    *,
    as_json: bool,
    url: str,
    alias: str,
    title: str,
    tags: Sequence[str],
    ttl: int | None,
    expires_at: str | None,
    max_clicks: int | None,
    redirect_status: str | None,
    forward_query: bool,
    request_id: str | None,
) -> int:
    """Makes a link; prints its short address. Returns the exit code, as all of these."""
    try:
        ends = expiry(ttl, expires_at)
    except WrongUsage as error:
        return fail(WRONG_USAGE, str(error), as_json)

    def call(client: Client) -> Awaitable[Link]:
        return client.create(
            url,
            alias=alias,
            title=title,
            tags=tags,
            ttl=None if ttl is None else timedelta(seconds=ttl),
            expires_at=ends,
            max_clicks=max_clicks or 0,
            redirect_status=int(redirect_status or 0),
            forward_query=forward_query,
            request_id=request_id,
        )

    return _link(env, target, as_json, call, lambda link: link.short_url)


def get(env: Env, target: Target, *, as_json: bool, short_code: str) -> int:
    """Shows a link."""
    return _link(env, target, as_json, lambda client: client.get(short_code), link_card)


def update(
    env: Env,
    target: Target,
    *,
    as_json: bool,
    short_code: str,
    url: str | None,
    title: str | None,
    tags: Sequence[str],
    no_tags: bool,
    ttl: int | None,
    expires_at: str | None,
    no_expiry: bool,
    max_clicks: int | None,
    no_max_clicks: bool,
    redirect_status: str | None,
    forward_query: bool | None,
    etag: str,
    request_id: str | None,
) -> int:
    """Changes a link; prints what became of it."""
    try:
        one_of({"--tag": bool(tags), "--no-tags": no_tags})
        one_of({"--ttl": ttl is not None, "--expires-at": expires_at is not None, "--no-expiry": no_expiry})
        one_of({"--max-clicks": max_clicks is not None, "--no-max-clicks": no_max_clicks})
        given = (url, title, ttl, expires_at, max_clicks, redirect_status, forward_query)
        if all(value is None for value in given) and not (tags or no_tags or no_expiry or no_max_clicks):
            raise WrongUsage("nothing to change: give at least one of the options that `--help` lists")
        ends: datetime | Unset | None = expiry(ttl, expires_at)
    except WrongUsage as error:
        return fail(WRONG_USAGE, str(error), as_json)
    if ends is None and not no_expiry:
        ends = UNSET

    def call(client: Client) -> Awaitable[Link]:
        return client.update(
            short_code,
            url=UNSET if url is None else url,
            title=UNSET if title is None else title,
            tags=tags if tags or no_tags else UNSET,
            ttl=UNSET if ttl is None else timedelta(seconds=ttl),
            expires_at=ends,
            max_clicks=0 if no_max_clicks else UNSET if max_clicks is None else max_clicks,
            redirect_status=UNSET if redirect_status is None else int(redirect_status),
            forward_query=UNSET if forward_query is None else forward_query,
            etag=etag,
            request_id=request_id,
        )

    names = {**OPTIONS, "url": "--url"}
    return _link(env, target, as_json, call, lambda link: f"updated {link.short_url}", names)


def delete(env: Env, target: Target, *, as_json: bool, short_code: str, etag: str, request_id: str | None) -> int:
    """Deletes a link; prints what became of it."""

    def call(client: Client) -> Awaitable[Link]:
        return client.delete(short_code, etag=etag, request_id=request_id)

    return _link(env, target, as_json, call, lambda link: f"deleted {link.short_url}")


def undelete(env: Env, target: Target, *, as_json: bool, short_code: str, etag: str, request_id: str | None) -> int:
    """Puts a deleted link back; prints what became of it."""

    def call(client: Client) -> Awaitable[Link]:
        return client.undelete(short_code, etag=etag, request_id=request_id)

    return _link(env, target, as_json, call, lambda link: f"undeleted {link.short_url}")


def resolve(env: Env, target: Target, *, as_json: bool, short_code: str) -> int:
    """Says what a visit would get."""

    async def work(client: Client, _: Server) -> int:
        answer = await client.resolve(short_code)
        click.echo(json_text(resolution_object(answer)) if as_json else resolution_card(answer))
        return 0

    return run(env, target, work, as_json=as_json)


def _link(
    env: Env,
    target: Target,
    as_json: bool,
    call: Callable[[Client], Awaitable[Link]],
    text: Callable[[Link], str],
    names: Mapping[str, str] = OPTIONS,
) -> int:
    """Makes a call and prints the link that it returns."""

    async def work(client: Client, _: Server) -> int:
        link = await call(client)
        click.echo(json_text(link_object(link)) if as_json else text(link))
        return 0

    return run(env, target, work, as_json=as_json, names=names)
