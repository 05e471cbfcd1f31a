"""Links for tests."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from waypost.model import DEFAULT_WORKSPACE, Destination, DestinationFlag, EventType, Link, LinkEvent, NewLink
from waypost.ports import Links, Storage


def new_link(
    short_code: str = "abc1234",
    url: str = "https://example.org/",
    *,
    flags: tuple[DestinationFlag, ...] = (),
    expires_at: datetime | None = None,
    redirect_status: int = 302,
    title: str = "",
    tags: tuple[str, ...] = (),
    max_clicks: int = 0,
    forward_query: bool = False,
    workspace_id: UUID = DEFAULT_WORKSPACE,
) -> NewLink:
    """A link that is not stored yet."""
    return NewLink(
        workspace_id,
        short_code,
        Destination(url, flags),
        expires_at,
        redirect_status,
        title=title,
        tags=tags,
        max_clicks=max_clicks,
        forward_query=forward_query,
    )


async def add(links: Links, link: NewLink) -> Link | None:
    """Adds one link to a unit of work; None if its code is taken."""
    return (await links.add_all([link]))[0]


async def store(storage: Storage, link: NewLink, *, event: bool = False) -> Link:
    """Stores a link, with its event if asked for."""
    async with storage.unit_of_work(link.workspace_id) as work:
        stored = await add(work.links, link)
        assert stored is not None
        if event:
            await work.outbox.add_all([LinkEvent(EventType.LINK_CREATED, stored, "test")])
        await work.commit()
    return stored
