"""`waypost whoami` and `waypost workspaces`: one call each, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import click

from waypost.cli import listing
from waypost.cli.identity.show import caller_card, caller_object, workspace_object
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.output import json_text, printable
from waypost.cli.refusals import OPTIONS
from waypost.cli.session import run
from waypost.cli.show import card
from waypost.cli.table import Column
from waypost.client import Client, Workspace
from waypost.client.channel import Server

Env = Mapping[str, str]

COLUMNS: Sequence[Column[Workspace]] = (
    Column("ID", lambda workspace: workspace.workspace_id),
    Column("NAME", lambda workspace: workspace.name, least=8),
    Column("CREATED", lambda workspace: f"{workspace.created_at:%Y-%m-%d}", worth=1),
)

WORKSPACES = Kind("workspace", COLUMNS, workspace_object)


def whoami(env: Env, target: Target, *, as_json: bool) -> int:
    """Says who is calling. Returns the exit code, as all of these."""

    async def work(client: Client, _: Server) -> int:
        caller = await client.workspaces.whoami()
        click.echo(json_text(caller_object(caller)) if as_json else caller_card(caller))
        return 0

    return run(env, target, work, as_json=as_json)


def create(env: Env, target: Target, *, as_json: bool, name: str, owner: str) -> int:
    """Makes a workspace; prints its id."""

    def call(client: Client) -> Awaitable[Workspace]:
        return client.workspaces.create(name, owner_subject=owner)

    return _workspace(env, target, as_json, call, lambda workspace: workspace.workspace_id)


def show_all(env: Env, target: Target, *, as_json: bool, limit: int | None, everything: bool) -> int:
    """Lists the workspaces that the caller may work in."""
    return listing.show(
        env,
        target,
        WORKSPACES,
        lambda client, size, token: client.workspaces.list_page(page_size=size, page_token=token),
        as_json=as_json,
        limit=limit,
        everything=everything,
    )


def show(env: Env, target: Target, *, as_json: bool) -> int:
    """Shows the workspace of the calls."""
    return _workspace(
        env,
        target,
        as_json,
        lambda client: client.workspaces.get(),
        lambda workspace: card(workspace_object(workspace)),
    )


def rename(env: Env, target: Target, *, as_json: bool, name: str) -> int:
    """Renames the workspace of the calls; prints what became of it."""
    return _workspace(
        env,
        target,
        as_json,
        lambda client: client.workspaces.rename(name),
        lambda workspace: printable(f"{workspace.workspace_id} is called {workspace.name} now"),
    )


def _workspace(
    env: Env,
    target: Target,
    as_json: bool,
    call: Callable[[Client], Awaitable[Workspace]],
    text: Callable[[Workspace], str],
) -> int:
    """Makes a call and prints the workspace that it returns."""

    async def work(client: Client, _: Server) -> int:
        workspace = await call(client)
        click.echo(json_text(workspace_object(workspace)) if as_json else text(workspace))
        return 0

    return run(env, target, work, as_json=as_json, names=OPTIONS)
