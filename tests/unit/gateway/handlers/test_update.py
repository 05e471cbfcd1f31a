"""Updates: only what is named changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.memory_storage import NOW
from tests.unit.gateway.world import URL, World, fields_of
from waypost.convert import etag
from waypost.errors import EtagMismatch, InvalidFields, LinkGone, LinkNotFound
from waypost.model import EventType, LinkEvent


async def test_only_what_is_named_changes(world: World) -> None:
    link = await world.create(alias="spring", title="Spring", tags=("a",), ttl_seconds=60, max_clicks=3)
    changed = await world.update("spring", title="Summer")
    assert changed == replace(link, title="Summer", version=2)
    assert world.storage.events[-1] == LinkEvent(EventType.LINK_UPDATED, changed, "call-1")


async def test_everything_can_be_changed(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.redirects.look("spring")).location == URL
    changed = await world.update(
        "spring",
        url="https://example.org/new",
        title="New",
        tags=("x",),
        expires_at=NOW + timedelta(days=1),
        max_clicks=5,
        redirect_status=301,
        forward_query=True,
    )
    assert changed.destination.url == "https://example.org/new"
    assert (changed.title, changed.tags, changed.max_clicks) == ("New", ("x",), 5)
    assert (changed.expires_at, changed.redirect_status, changed.forward_query) == (NOW + timedelta(days=1), 301, True)
    # Seen here at once; the destination of a link with a number of clicks is told to none but those who click.
    seen = await world.redirects.look("spring")
    assert (seen.status, seen.location) == (301, "")
    assert (await world.redirects.follow("spring")).location == "https://example.org/new"


async def test_what_is_named_and_empty_is_cleared(world: World) -> None:
    await world.create(
        alias="spring",
        title="Spring",
        tags=("a",),
        ttl_seconds=60,
        max_clicks=3,
        redirect_status=301,
        forward_query=True,
    )
    also = ("title", "tags", "expires_at", "max_clicks", "redirect_status", "forward_query")
    changed = await world.update("spring", also=also)
    assert (changed.title, changed.tags, changed.expires_at, changed.max_clicks) == ("", (), None, 0)
    assert (changed.redirect_status, changed.forward_query) == (302, False)


async def test_destination_cannot_be_cleared(world: World) -> None:
    await world.create(alias="spring")
    with pytest.raises(InvalidFields) as caught:
        await world.update("spring", also=("url",))
    assert fields_of(caught.value) == ["url"]


async def test_every_wrong_field_of_an_update_is_named(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.update("", url="ftp://x", tags=("a,b",), redirect_status=303, max_clicks=-1)
    assert fields_of(caught.value) == ["short_code", "url", "tags[0]", "max_clicks", "redirect_status"]
    assert world.storage.opened == 0


async def test_update_that_changes_nothing_leaves_the_version(world: World) -> None:
    link = await world.create(alias="spring", title="Spring")
    assert await world.update("spring", title="Spring") == link
    assert (len(world.storage.events), world.storage.commits) == (1, 1)


async def test_update_heeds_the_etag(world: World) -> None:
    link = await world.create(alias="spring")
    changed = await world.update("spring", title="a", etag=etag(link))
    with pytest.raises(EtagMismatch) as caught:
        await world.update("spring", title="b", etag=etag(link))
    assert caught.value.etag == etag(changed)
    assert world.storage.links["spring"].title == "a"


async def test_deleted_link_is_not_updated(world: World) -> None:
    await world.create(alias="spring")
    await world.delete("spring")
    with pytest.raises(LinkGone):
        await world.update("spring", title="a")


async def test_unknown_link_is_not_updated(world: World) -> None:
    for code in ("summer", "a b", "+"):
        with pytest.raises(LinkNotFound):
            await world.update(code, title="a")
        with pytest.raises(LinkNotFound):
            await world.undelete(code)
