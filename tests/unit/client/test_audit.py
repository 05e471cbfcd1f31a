"""The audit log as the client reads it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.support.account_server import HERE, NOW, AccountServer
from waypost import Client, errors
from waypost.client import AuditEvent


async def test_events(member: Client, accounts: AccountServer) -> None:
    accounts.did("key.create", "k1", name="ci")
    assert [event async for event in member.audit.list()] == [
        AuditEvent(
            event_id="1",
            occurred_at=NOW + timedelta(seconds=1),
            principal="key:tester",
            address="127.0.0.1",
            action="key.create",
            object="k1",
            details={"name": "ci"},
            correlation_id="c0",
            workspace_id=HERE,
        )
    ]


async def test_every_condition(member: Client, accounts: AccountServer) -> None:
    for number in range(5):
        accounts.did("key.create" if number % 2 else "link.create", f"o{number}")

    async def found(**conditions: object) -> list[str]:
        return [event.object async for event in member.audit.list(**conditions)]  # type: ignore[arg-type]

    assert await found() == ["o4", "o3", "o2", "o1", "o0"]
    assert await found(action="key.create") == ["o3", "o1"]
    assert await found(action="link.") == ["o4", "o2", "o0"]
    assert await found(object="o2") == ["o2"]
    assert await found(principal="user:nobody") == []
    second = NOW + timedelta(seconds=1)
    assert await found(since=second + timedelta(seconds=1), until=second + timedelta(seconds=3)) == ["o2", "o1"]
    assert not accounts.calls[-1].request.all_workspaces
    await found(all_workspaces=True)
    assert accounts.calls[-1].request.all_workspaces


async def test_all_pages_are_read_though_they_are_smaller_than_asked_for(
    member: Client, accounts: AccountServer
) -> None:
    for number in range(7):
        accounts.did("link.create", f"o{number}")
    accounts.most = 3
    assert len([event async for event in member.audit.list(page_size=1000)]) == 7
    assert len(accounts.calls) == 3
    page = await member.audit.list_page(page_size=2)
    assert [event.object for event in page.items] == ["o6", "o5"]
    with pytest.raises(errors.InvalidFields) as raised:
        await member.audit.list_page(page_token=page.next_page_token, object="o1")
    assert raised.value.violations[0].field == "page_token"


async def test_times_need_a_time_zone(member: Client, accounts: AccountServer) -> None:
    with pytest.raises(errors.InvalidFields) as raised:
        await member.audit.list_page(since=datetime(2030, 1, 1), until=datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake
    assert [violation.field for violation in raised.value.violations] == ["from", "until"]
    assert accounts.calls == []
