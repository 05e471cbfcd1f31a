"""AuditService: whose log is read, by which conditions, and page by page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.memory_accounts import NOW
from tests.unit.gateway.accounts.world import (
    ELSEWHERE,
    HERE,
    OPERATOR,
    OWNER,
    World,
    caller,
    context,
    violations,
)
from waypost.access.identity import Identity, Role, Scope
from waypost.api.v1 import audit_service_pb2 as pb
from waypost.audit import Action, entry_of
from waypost.errors import PermissionDenied


def world_with_events() -> World:
    """Ten events here and ten elsewhere, one a second, by two people on five links."""
    world = World()
    for number in range(20):
        world.rows.now = NOW + timedelta(seconds=number)
        identity = Identity(f"user:{'ab'[number // 2 % 2]}", address="192.0.2.0")
        action = (Action.LINK_CREATE, Action.LINK_UPDATE, Action.KEY_CREATE)[number % 3]
        workspace = (HERE, ELSEWHERE)[number % 2]
        world.rows.record([entry_of(identity, f"c{number}", action, f"o{number % 5}", {"n": str(number)}, workspace)])
    return world


async def read(world: World, by: Identity = OWNER, **fields: Any) -> pb.ListAuditEventsResponse:
    return await world.audit.ListAuditEvents(pb.ListAuditEventsRequest(**fields), context(by))


async def numbers(world: World, by: Identity = OWNER, **fields: Any) -> list[int]:
    return [int(event.details["n"]) for event in (await read(world, by, **fields)).events]


def at(second: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOW + timedelta(seconds=second))
    return stamp


def between(start: Timestamp, end: Timestamp) -> dict[str, Any]:
    """Two fields, of which one is a keyword in Python."""
    return {"from": start, "until": end}


async def test_an_event_is_shown_whole() -> None:
    world = world_with_events()
    event = (await read(world, page_size=1)).events[0]
    expected = pb.AuditEvent(
        event_id="19",
        principal="user:b",
        address="192.0.2.0",
        action="link.create",
        object="o3",
        details={"n": "18"},
        correlation_id="c18",
        workspace_id=str(HERE),
    )
    expected.occurred_at.FromDatetime(world.events[18].occurred_at)
    assert event == expected


async def test_a_workspace_reads_its_own_log_alone_the_latest_first() -> None:
    world = world_with_events()
    assert await numbers(world) == list(range(18, -1, -2))
    assert await numbers(world, caller(workspace_id=ELSEWHERE)) == list(range(19, 0, -2))


async def test_each_condition_is_met() -> None:
    world = world_with_events()
    assert await numbers(world, principal="user:a") == [16, 12, 8, 4, 0]
    assert await numbers(world, action="key.create") == [14, 8, 2]
    assert await numbers(world, action="link.") == [18, 16, 12, 10, 6, 4, 0]
    assert await numbers(world, object="o4") == [14, 4]
    assert await numbers(world, **between(at(4), at(8))) == [6, 4]
    assert await numbers(world, principal="user:a", action="link.update", object="o4") == [4]
    assert await numbers(world, principal="user:nobody") == []


async def test_operators_read_all_workspaces_if_they_ask_for_it() -> None:
    world = world_with_events()
    assert await numbers(world, OPERATOR) == list(range(18, -1, -2))
    assert await numbers(world, OPERATOR, all_workspaces=True) == list(range(19, -1, -1))
    assert await numbers(world, OPERATOR, all_workspaces=True, object="o4") == [19, 14, 9, 4]


@pytest.mark.parametrize("by", [OWNER, caller(Role.OPERATOR, Scope.AUDIT_READ)], ids=["owner", "limited operator"])
async def test_others_do_not(by: Identity) -> None:
    with pytest.raises(PermissionDenied) as caught:
        await read(world_with_events(), by, all_workspaces=True)
    assert caught.value.scope == "mesh:read"


async def test_pages_follow_each_other() -> None:
    world = world_with_events()
    found: list[int] = []
    token, pages = "", 0
    while True:
        page = await read(world, page_size=3, page_token=token, action="link.")
        found += [int(event.details["n"]) for event in page.events]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert (found, pages) == ([18, 16, 12, 10, 6, 4, 0], 3)


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "link."},
        {"principal": "user:a"},
        {"object": "o1"},
        {"from": at(1)},
        {"until": at(1)},
        {"all_workspaces": True},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_a_token_is_for_what_it_was_asked_with(fields: dict[str, Any]) -> None:
    world = world_with_events()
    token = (await read(world, OPERATOR, page_size=1)).next_page_token
    assert "other arguments" in (await violations(read(world, OPERATOR, page_token=token, **fields)))["page_token"]
    elsewhere = caller(workspace_id=ELSEWHERE)
    assert "other arguments" in (await violations(read(world, elsewhere, page_token=token)))["page_token"]
    assert await numbers(world, page_token=token, page_size=2) == [16, 14]


async def test_a_page_has_a_thousand_at_most_and_a_hundred_by_default() -> None:
    world = World()
    world.rows.record(entry_of(OWNER, "c", Action.LINK_CREATE, f"o{number}") for number in range(1100))
    assert len((await read(world)).events) == 100
    assert len((await read(world, page_size=5000)).events) == 1000


async def test_every_wrong_field_is_named() -> None:
    wrong = await violations(
        read(
            World(),
            page_size=-1,
            page_token="?",
            principal="a\x00",
            action="Key.Create",
            object="x" * 301,
            **between(at(5), at(5)),
        )
    )
    assert wrong.keys() == {"page_size", "page_token", "principal", "action", "object", "until"}
    assert "1,000" in wrong["page_size"]
    wrong = await violations(read(World(), **between(Timestamp(nanos=-1), Timestamp(seconds=1 << 60))))
    assert wrong.keys() == {"from", "until"}


@pytest.mark.parametrize("action", ["key", ".", ".create", "key.create.x", "key.*", "key%"])
async def test_an_action_is_an_action_or_a_kind(action: str) -> None:
    assert (await violations(read(World(), action=action))).keys() == {"action"}
