"""The use cases of LinkService between workspaces, and what they write down of what they do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from gateway.requests import Caller, Content, CreateLink, UpdateLink
from tests.support.identities import as_editor, as_owner
from tests.support.memory_storage import NOW, MemoryStorage
from tests.unit.gateway.world import URL, World
from waypost.audit import AuditEvent
from waypost.errors import AliasTaken, DependencyUnavailable, EtagMismatch, LinkNotFound
from waypost.model import DEFAULT_WORKSPACE

OTHER = UUID(int=2)
OTHERS = Caller(as_owner(OTHER, principal="user:bob"), OTHER, "call-2")
KEY = Caller(as_editor(principal="key:abcdefghij123456"), DEFAULT_WORKSPACE, "call-3")


def lines(storage: MemoryStorage) -> list[tuple[str, str, dict[str, str]]]:
    """What the audit log says: what was done, to what, and how."""
    return [(event.action, event.object, dict(event.details)) for event in storage.accounts.audit]


def only(storage: MemoryStorage) -> AuditEvent:
    (event,) = storage.accounts.audit
    return event


# Workspaces


async def test_a_link_belongs_to_the_workspace_of_the_call() -> None:
    world = World()
    assert (await world.create(caller=OTHERS)).workspace_id == OTHER
    assert (await world.create()).workspace_id == DEFAULT_WORKSPACE


async def test_what_is_not_theirs_is_not_there_whatever_they_do() -> None:
    world = World()
    link = await world.create(alias="spring")
    before = (dict(world.storage.links), list(world.storage.events), lines(world.storage))
    attempts = (
        lambda: world.get("spring", OTHERS),
        lambda: world.links.update(
            UpdateLink("spring", Content(title="mine"), frozenset(["title"])), OTHERS, world.reply()
        ),
        lambda: world.links.delete("spring", "", OTHERS, world.reply()),
        lambda: world.links.undelete("spring", "", OTHERS, world.reply()),
    )
    for attempt in attempts:
        with pytest.raises(LinkNotFound) as theirs:
            await attempt()
        assert str(theirs.value) == str(LinkNotFound("spring")), "as for a code that nobody has"
    assert (dict(world.storage.links), list(world.storage.events), lines(world.storage)) == before
    assert await world.get("spring") == link


async def test_an_etag_does_not_tell_whether_others_have_a_link() -> None:
    world = World()
    await world.create(alias="spring")
    for code in ("spring", "nothing"):
        with pytest.raises(LinkNotFound):
            await world.links.delete(code, "wrong", OTHERS, world.reply())


async def test_codes_are_one_name_space_of_all_workspaces() -> None:
    world = World()
    await world.create(alias="spring")
    with pytest.raises(AliasTaken):
        await world.create(alias="Spring", caller=OTHERS)


async def test_a_list_is_of_the_workspace_of_the_call() -> None:
    world = World()
    await world.create(alias="spring")
    links, token = await world.links.page(OTHERS, filter_text="", order_by="", size=10, page_token="")
    assert (list(links), token) == ([], "")
    assert world.storage.lists[-1][0] == OTHER


# The audit log


async def test_who_did_what_from_where_is_written_with_it() -> None:
    world = World()
    link = await world.create(alias="spring", caller=KEY)
    assert replace(only(world.storage), occurred_at=NOW) == AuditEvent(
        event_id=1,
        occurred_at=NOW,
        workspace_id=DEFAULT_WORKSPACE,
        principal="key:abcdefghij123456",
        address="192.0.2.7",
        action="link.create",
        object=link.short_code,
        details={"url": URL},
        correlation_id="call-3",
    )


async def test_every_change_is_written_and_nothing_else() -> None:
    world = World()
    link = await world.create(alias="spring")
    await world.get("spring")
    later = NOW + timedelta(days=1)
    await world.update("spring", url="https://example.net/", title="Sale", tags=("a", "b"), expires_at=later)
    await world.update("spring", title="Sale")
    await world.update("spring", max_clicks=3, forward_query=True, also=("expires_at",))
    await world.delete("spring")
    await world.delete("spring")
    await world.undelete("spring")
    await world.undelete("spring")
    with pytest.raises(EtagMismatch):
        await world.delete("spring", etag="wrong")
    assert lines(world.storage) == [
        ("link.create", "spring", {"url": link.destination.url}),
        (
            "link.update",
            "spring",
            {"url": "https://example.net/", "title": "Sale", "tags": "a,b", "expires_at": later.isoformat()},
        ),
        ("link.update", "spring", {"max_clicks": "3", "forward_query": "true", "expires_at": ""}),
        ("link.delete", "spring", {}),
        ("link.undelete", "spring", {}),
    ]


async def test_each_link_of_a_batch_is_written_and_none_that_was_refused() -> None:
    world = World()
    await world.batch(
        CreateLink(Content(URL), "one"), CreateLink(Content("no url")), CreateLink(Content(URL), "ONE"), key="b"
    )
    await world.batch(CreateLink(Content(URL), "one"), key="b")
    assert [(action, code) for action, code, _ in lines(world.storage)] == [("link.create", "one")]


async def test_what_is_answered_again_is_not_written_again() -> None:
    world = World()
    await world.create(key="k")
    await world.create(key="k")
    assert len(lines(world.storage)) == 1


async def test_what_is_undone_is_not_written() -> None:
    world = World()
    world.storage.commit_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create()
    assert lines(world.storage) == []
