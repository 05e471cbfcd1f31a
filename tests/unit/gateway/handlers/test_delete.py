"""Deleting links and taking that back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.transactions import redirect_of
from tests.support.memory_storage import NOW
from tests.unit.gateway.world import URL, World
from waypost.convert import etag
from waypost.errors import AliasTaken, EtagMismatch
from waypost.model import EventType, LinkEvent, LinkState, Redirect


async def test_deleted_link_is_gone_at_once(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.redirects.look("spring")).status == 302
    link = await world.delete("spring")
    assert (link.version, link.deleted_at) == (2, NOW)
    answer = await world.redirects.look("spring")
    assert (answer.status, answer.state) == (410, LinkState.DELETED)
    assert world.storage.events[-1] == LinkEvent(EventType.LINK_DELETED, link, "call-1")


async def test_deleting_again_changes_nothing(world: World) -> None:
    await world.create(alias="spring")
    first = await world.delete("spring")
    events = list(world.storage.events)
    assert await world.delete("spring") == first
    assert world.storage.events == events


async def test_code_of_a_deleted_link_is_not_free(world: World) -> None:
    await world.create(alias="spring")
    await world.delete("spring")
    with pytest.raises(AliasTaken):
        await world.create(alias="Spring")


async def test_redirect_has_what_the_link_has(world: World) -> None:
    link = await world.create(alias="spring", ttl_seconds=60, redirect_status=307, forward_query=True)
    expected = Redirect("spring", URL, 307, 1, False, False, NOW + timedelta(seconds=60), NOW, forward_query=True)
    assert redirect_of(link) == expected
    assert redirect_of(replace(link, blocked=True, deleted_at=NOW)).blocked
    assert redirect_of(replace(link, deleted_at=NOW)).deleted
    assert redirect_of(replace(link, warned=True)).warned
    limited = redirect_of(replace(link, max_clicks=2, clicks_used=1))
    assert (limited.limited, limited.exhausted) == (True, False)
    assert redirect_of(replace(link, max_clicks=2, clicks_used=2)).exhausted


async def test_delete_heeds_the_etag(world: World) -> None:
    link = await world.create(alias="spring")
    with pytest.raises(EtagMismatch) as caught:
        await world.delete("spring", "v7")
    assert (caught.value.short_code, caught.value.etag) == ("spring", etag(link))
    assert (await world.delete("spring", etag(link))).deleted_at == NOW


async def test_undeleted_link_is_what_it_was(world: World) -> None:
    link = await world.create(alias="spring", title="Spring", tags=("a",))
    await world.delete("spring")
    with pytest.raises(EtagMismatch):
        await world.undelete("spring", etag(link))
    back = await world.undelete("spring", "v2")
    assert back == replace(link, version=3)
    assert (await world.redirects.look("spring")).status == 302
    assert world.storage.events[-1] == LinkEvent(EventType.LINK_UPDATED, back, "call-1")


async def test_undeleting_what_is_not_deleted_changes_nothing(world: World) -> None:
    link = await world.create(alias="spring")
    assert await world.undelete("spring") == link
    assert len(world.storage.events) == 1
