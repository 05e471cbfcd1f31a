"""The client as type checkers see it: checked by `make lint`, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import assert_type

import waypost
from waypost.client import (
    UNSET,
    AuditEvent,
    BlockedLink,
    Caller,
    Client,
    DestinationFlag,
    Key,
    Link,
    LinkState,
    Listed,
    Member,
    NewKey,
    NewLink,
    Page,
    RemoteError,
    Report,
    ReportCategory,
    Resolution,
    Role,
    Unreachable,
    Workspace,
)
from waypost.errors import WaypostError


async def calls() -> None:
    """Every call, with what may be given and what comes back."""
    async with waypost.Client("https://go.example", channels=2, timeout=5, root_certificates=b"") as client:
        assert_type(client, Client)
        assert_type(await client.create("https://example.com/"), Link)
        assert_type(await client.create("u", tags=["a"], ttl=timedelta(days=7), request_id="x", timeout=1), Link)
        assert_type(await client.create("u", tags=("a",), expires_at=datetime.now(UTC), max_clicks=1), Link)
        assert_type(await client.batch_create([NewLink(url="u", tags=["a"])]), list[Link | WaypostError])
        assert_type(await client.batch_create(NewLink(url=url) for url in "ab"), list[Link | WaypostError])
        assert_type(await client.get("talk"), Link)
        assert_type(client.list(filter="tag = a", order_by="created_at desc", page_size=500), AsyncIterator[Link])
        assert_type([link.tags async for link in client.list()], list[tuple[str, ...]])
        assert_type(await client.list_page(page_token=""), Page)
        assert_type(await client.update("talk", title=None, tags=[], expires_at=None, max_clicks=0, etag="v1"), Link)
        assert_type(await client.update("talk", title=UNSET, ttl=timedelta(1), forward_query=False), Link)
        assert_type(await client.delete("talk"), Link)
        assert_type(await client.undelete("talk", etag="v1"), Link)
        assert_type(await client.resolve("talk"), Resolution)

        await client.create("u", "talk")  # type: ignore[call-arg]
        await client.create("u", expires_at="2030-01-01")  # type: ignore[arg-type]
        await client.update("talk", url=None)  # type: ignore[arg-type]
        await client.update("talk", ttl=None)  # type: ignore[arg-type]
        NewLink("u")  # type: ignore[call-arg]


async def accounts() -> None:
    """Every call of the services beside the links'."""
    async with waypost.Client(token=lambda: "x", workspace="", insecure_credentials=True) as client:
        assert_type(await client.workspaces.whoami(), Caller)
        assert_type(await client.workspaces.create("n", owner_subject="ann"), Workspace)
        assert_type(client.workspaces.list(), AsyncIterator[Workspace])
        assert_type(await client.members.add("ann", "owner"), Member)
        assert_type(await client.members.update("ann", role=Role.VIEWER, name=UNSET), Member)
        assert_type(await client.members.list_page(), Listed[Member])
        assert_type(await client.keys.create("k", scopes=["links:read"], ttl=timedelta(1)), NewKey)
        assert_type(await client.keys.revoke("k"), Key)
        assert_type(client.audit.list(since=datetime.now(UTC), action="key."), AsyncIterator[AuditEvent])
        assert_type(await client.abuse.report("talk", category=ReportCategory.SPAM), str)
        assert_type(client.abuse.reports(closed=True), AsyncIterator[Report])
        assert_type(await client.abuse.block("talk", "why"), BlockedLink)

        await client.members.add("ann")  # type: ignore[call-arg]
        await client.abuse.block("talk")  # type: ignore[call-arg]
        await client.audit.list_page(since="2030-01-01")  # type: ignore[arg-type]


def values(link: Link, page: Page, resolution: Resolution) -> None:
    """What is in them, and that it stays."""
    assert_type(link.expires_at, datetime | None)
    assert_type(link.state, LinkState)
    assert_type(link.destination_flags, tuple[DestinationFlag, ...])
    assert_type(page.links, tuple[Link, ...])
    assert_type(resolution.state, LinkState | None)
    assert_type(resolution.valid_for, timedelta | None)
    link.title = "x"  # type: ignore[misc]


def failures(error: RemoteError | Unreachable) -> WaypostError:
    """All of them are `WaypostError`."""
    if isinstance(error, RemoteError):
        assert_type(error.retry_after, float | None)
    else:
        assert_type(error.address, str)
    return error
