"""WorkspaceService: who sees which workspaces, new ones, their names, and who is calling."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.support.memory_accounts import NOW, MemoryAccounts
from tests.unit.gateway.accounts.world import (
    ELSEWHERE,
    HERE,
    OPERATOR,
    OWNER,
    STRANGER,
    World,
    caller,
    context,
    violations,
)
from waypost.access.identity import MESH, ROLE_SCOPES, Identity, Role, Scope
from waypost.accounts import Workspace
from waypost.api.v1 import role_pb2
from waypost.api.v1 import workspace_service_pb2 as pb
from waypost.errors import InvalidFields, PermissionDenied, ResourceNotFound


async def ids(world: World, identity: Identity, size: int = 0) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListWorkspacesRequest(page_size=size, page_token=token)
        page = await world.workspaces.ListWorkspaces(request, context(identity))
        assert len(page.workspaces) <= (size or 50)
        found += [workspace.workspace_id for workspace in page.workspaces]
        token = page.next_page_token
        if not token:
            return found


async def test_a_new_workspace_has_its_first_owner_and_a_log() -> None:
    world = World()
    request = pb.CreateWorkspaceRequest(name=" Träume & Söhne ", owner_subject="auth0|77")
    made = await world.workspaces.CreateWorkspace(request, context(OPERATOR))
    assert made.name == "Träume & Söhne"
    workspace_id = UUID(made.workspace_id)
    assert workspace_id.version == 4
    assert world.rows.workspaces[workspace_id].name == made.name
    assert world.roles(workspace_id) == {"auth0|77": Role.OWNER}
    assert world.log == [
        ("workspace.create", made.workspace_id, {"name": made.name, "owner_subject": "auth0|77"}),
        ("member.add", "auth0|77", {"role": "owner"}),
    ]
    assert {event.workspace_id for event in world.events} == {workspace_id}, "not the operator's workspace"
    assert {(event.principal, event.address, event.correlation_id) for event in world.events} == {
        (OPERATOR.principal, "192.0.2.0", "call-1")
    }


async def test_a_new_workspace_may_have_nobody_yet() -> None:
    world = World()
    made = await world.workspaces.CreateWorkspace(pb.CreateWorkspaceRequest(name="n"), context(OPERATOR))
    assert world.roles(UUID(made.workspace_id)) == {}
    assert world.log == [("workspace.create", made.workspace_id, {"name": "n"})]


async def test_every_wrong_field_of_a_new_workspace_is_named() -> None:
    world = World()
    request = pb.CreateWorkspaceRequest(name="a\u202eb", owner_subject="with space")
    wrong = await violations(world.workspaces.CreateWorkspace(request, context(OPERATOR)))
    assert wrong.keys() == {"name", "owner_subject"}
    assert "U+202E" in wrong["name"]
    assert "255 visible ASCII" in wrong["owner_subject"]
    assert len(world.rows.workspaces) == 2
    assert not world.events


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "must not be empty"),
        ("  ", "must not be empty"),
        ("x" * 129, "has 129 characters: shorten it to 128"),
        ("a\x00b", "control character U+0000"),
        ("a\nb", "control character U+000A"),
        ("a\u2066b", "invisible character U+2066"),
    ],
)
async def test_a_name_is_a_line_of_text(name: str, sentence: str) -> None:
    world = World()
    wrong = await violations(world.workspaces.UpdateWorkspace(pb.UpdateWorkspaceRequest(name=name), context()))
    assert sentence in wrong["name"]
    assert world.rows.workspaces[HERE].name == "default"


@pytest.mark.parametrize("name", ["x", "名" * 128, "Ünïcode 🦉"])
async def test_a_workspace_is_renamed_and_others_are_not(name: str) -> None:
    world = World()
    changed = await world.workspaces.UpdateWorkspace(pb.UpdateWorkspaceRequest(name=name), context())
    assert (changed.workspace_id, changed.name) == (str(HERE), name)
    assert [world.rows.workspaces[one].name for one in (HERE, ELSEWHERE)] == [name, "elsewhere"]
    assert world.log == [("workspace.update", str(HERE), {"name": name, "name_before": "default"})]


async def test_the_same_name_changes_nothing_and_is_not_logged() -> None:
    world = World()
    same = await world.workspaces.UpdateWorkspace(pb.UpdateWorkspaceRequest(name="default"), context())
    assert same.name == "default"
    assert not world.events
    assert world.storage.commits == 0


async def test_the_calls_own_workspace_is_read() -> None:
    world = World()
    for workspace_id, name in ((HERE, "default"), (ELSEWHERE, "elsewhere")):
        identity = caller(Role.VIEWER, workspace_id=workspace_id)
        found = await world.workspaces.GetWorkspace(pb.GetWorkspaceRequest(), context(identity))
        assert (found.workspace_id, found.name) == (str(workspace_id), name)
    with pytest.raises(ResourceNotFound):
        gone = caller(workspace_id=UUID(int=99))
        await world.workspaces.GetWorkspace(pb.GetWorkspaceRequest(), context(gone))


async def test_people_see_the_workspaces_that_they_are_members_of() -> None:
    world = World()
    world.have_member("ann", Role.VIEWER)
    world.have_member("bob", Role.OWNER, workspace_id=ELSEWHERE)
    world.have_member("cleo", Role.VIEWER)
    world.have_member("cleo", Role.VIEWER, workspace_id=ELSEWHERE)
    for subject, expected in {"ann": [HERE], "bob": [ELSEWHERE], "cleo": [HERE, ELSEWHERE], "dan": []}.items():
        identity = Identity(f"user:{subject}", address="local")
        assert await ids(world, identity) == [str(one) for one in expected]


async def test_a_key_sees_its_own_workspace_and_strangers_none() -> None:
    world = World()
    world.have_member("0123456789abcdef", Role.OWNER)
    key = caller(Role.EDITOR, Scope.WORKSPACE_READ, principal="key:0123456789abcdef", workspace_id=ELSEWHERE)
    assert await ids(world, key) == [str(ELSEWHERE)]
    assert await ids(world, STRANGER) == []
    assert await ids(world, Identity("anonymous", HERE, None, frozenset({Scope.LINKS_WRITE}))) == []
    assert await ids(world, Identity(MESH)) == []


async def test_who_has_no_workspace_is_answered_without_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(MemoryAccounts, "list_workspaces", asked)
    for identity in (STRANGER, Identity("user:nobody", address="local")):
        assert await ids(World(), identity) == []


async def test_operators_see_all_page_by_page() -> None:
    world = World()
    for number in range(100, 107):
        world.rows.workspaces[UUID(int=number)] = Workspace(UUID(int=number), "w", NOW)
    every = sorted(map(str, world.rows.workspaces))
    assert await ids(world, OPERATOR, 2) == every
    assert await ids(world, OPERATOR, 3) == every, "also where the last page is full"
    assert await ids(world, caller(Role.OPERATOR, Scope.WORKSPACE_READ)) == every
    for role in (Role.OPERATOR, Role.VIEWER):
        with pytest.raises(PermissionDenied):
            await ids(world, caller(role, Scope.LINKS_READ))
    assert await ids(world, OWNER) == []


async def test_pages_that_are_no_pages_are_refused() -> None:
    world = World()
    request = pb.ListWorkspacesRequest(page_size=-1, page_token="no token!")
    wrong = await violations(world.workspaces.ListWorkspaces(request, context(OPERATOR)))
    assert "1 to 200" in wrong["page_size"]
    assert "no token of this server" in wrong["page_token"]


async def test_the_caller_is_told_who_they_are() -> None:
    world = World()
    found = await world.workspaces.GetCaller(pb.GetCallerRequest(), context(OPERATOR))
    assert found == pb.Caller(
        principal=OPERATOR.principal,
        workspace_id=str(HERE),
        role=role_pb2.ROLE_OPERATOR,
        scopes=sorted(ROLE_SCOPES[Role.OPERATOR]),
    )
    without = await world.workspaces.GetCaller(pb.GetCallerRequest(), context(Identity("user:ann", workspaces=2)))
    assert without == pb.Caller(principal="user:ann")
    anonymous = Identity("anonymous", HERE, None, frozenset({Scope.LINKS_WRITE}))
    assert await world.workspaces.GetCaller(pb.GetCallerRequest(), context(anonymous)) == pb.Caller(
        principal="anonymous"
    )


async def test_a_name_is_refused_before_anything_is_asked_of_the_store() -> None:
    world = World()
    with pytest.raises(InvalidFields):
        await world.workspaces.UpdateWorkspace(pb.UpdateWorkspaceRequest(name=""), context())
    assert world.storage.opened == 0
