"""Workspaces, members and keys: what each call asks, and what it makes of the answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.account_server import HERE, NOW, AccountServer
from waypost import Client, errors
from waypost.api.v1 import key_service_pb2, member_service_pb2, role_pb2
from waypost.client import Key, Member, Role, Workspace
from waypost.client.identity_convert import key_from_proto, member_from_proto

END = datetime(2032, 1, 1, 12, tzinfo=UTC)


async def test_workspaces(member: Client, accounts: AccountServer) -> None:
    made = await member.workspaces.create("Spring", owner_subject="ann")
    assert made == Workspace(made.workspace_id, "Spring", NOW + timedelta(seconds=1))
    assert accounts.of("CreateWorkspace")[0].request.owner_subject == "ann"
    assert (await member.workspaces.get()).workspace_id == HERE
    assert (await member.workspaces.rename("There")).name == "There"
    assert {one.workspace_id async for one in member.workspaces.list(page_size=1)} == {HERE, made.workspace_id}
    assert [call.request.page_size for call in accounts.of("ListWorkspaces")] == [1, 1]
    with pytest.raises(errors.InvalidFields) as raised:
        await member.workspaces.create("x" * 129)
    assert raised.value.violations[0].field == "name"


async def test_members(member: Client, accounts: AccountServer) -> None:
    ann = await member.members.add("ann@example.com", "owner", name="Ann")
    assert ann == Member("ann@example.com", Role.OWNER, "Ann", NOW + timedelta(seconds=1))
    await member.members.add("bob", Role.VIEWER)
    assert [one.subject async for one in member.members.list(page_size=1)] == ["ann@example.com", "bob"]
    with pytest.raises(errors.MemberExists) as exists:
        await member.members.add("bob", "editor")
    assert exists.value.subject == "bob"
    with pytest.raises(errors.LastOwner) as last:
        await member.members.remove("ann@example.com")
    assert last.value.subject == "ann@example.com"
    assert (await member.members.remove("bob")).role is Role.VIEWER
    with pytest.raises(errors.ResourceNotFound) as missing:
        await member.members.remove("bob")
    assert (missing.value.type, missing.value.name) == ("member", "bob")


async def test_an_update_of_a_member_leaves_what_is_not_given(member: Client, accounts: AccountServer) -> None:
    await member.members.add("ann", "editor", name="Ann")
    assert (await member.members.update("ann", role="owner")).name == "Ann"
    changed = await member.members.update("ann", name="")
    assert (changed.role, changed.name) == (Role.OWNER, "")
    first, second = (call.request for call in accounts.of("UpdateMember"))
    assert (first.HasField("role"), first.HasField("name")) == (True, False)
    assert (second.HasField("role"), second.HasField("name")) == (False, True)


async def test_keys(member: Client, accounts: AccountServer) -> None:
    new = await member.keys.create("ci", role="viewer", scopes=["links:read"], ttl=timedelta(seconds=1.5))
    assert new.key == Key(
        key_id=new.key.key_id,
        name="ci",
        role=Role.VIEWER,
        scopes=("links:read",),
        created_by="key:tester",
        created_at=NOW + timedelta(seconds=1),
        expires_at=NOW + timedelta(seconds=2),
        last_used_at=None,
        revoked_at=None,
    )
    assert new.secret.startswith(f"wp_{new.key.key_id}.")
    assert new.secret not in repr(new)
    other = await member.keys.create("other", expires_at=END)
    assert (other.key.role, other.key.expires_at) == (Role.EDITOR, END)
    assert [key.name async for key in member.keys.list(page_size=1)] == ["other", "ci"]
    assert await member.keys.get(new.key.key_id) == new.key
    revoked = await member.keys.revoke(new.key.key_id)
    assert revoked.revoked_at is not None
    assert await member.keys.revoke(new.key.key_id) == revoked
    with pytest.raises(errors.ResourceNotFound) as raised:
        await member.keys.get("none")
    assert (raised.value.type, raised.value.name) == ("key", "none")


async def test_what_no_message_can_hold_is_refused_before_it_is_sent(member: Client, accounts: AccountServer) -> None:
    for call, field in (
        (member.members.add("ann", "boss"), "role"),
        (member.members.add("ann", "unknown"), "role"),
        (member.members.update("ann", role=""), "role"),
        (member.keys.create("k", role="boss"), "role"),
        (member.keys.create("k", scopes="links:read"), "scopes"),
        (member.keys.create("k", ttl=timedelta(1), expires_at=END), "ttl_seconds"),
        (member.keys.create("\ud800"), "name"),
        (member.keys.create("k", expires_at=datetime(2032, 1, 1)), "expires_at"),  # noqa: DTZ001 - the mistake
    ):
        with pytest.raises(errors.InvalidFields) as raised:
            await call
        assert raised.value.violations[0].field == field
    assert accounts.calls == []


def test_a_role_that_only_a_newer_server_knows() -> None:
    for number, role in ((role_pb2.ROLE_OPERATOR, Role.OPERATOR), (0, Role.UNKNOWN), (99, Role.UNKNOWN)):
        key = key_service_pb2.Key.FromString(key_service_pb2.Key(role=number).SerializeToString())  # type: ignore[arg-type]
        assert key_from_proto(key).role is role
    assert member_from_proto(member_service_pb2.Member(role=role_pb2.ROLE_OWNER)).role is Role.OWNER
