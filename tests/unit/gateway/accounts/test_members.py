"""MemberService: nobody gives more than they have, and no workspace is left without an owner."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gateway.accounts.world import ELSEWHERE, HERE, OPERATOR, OWNER, World, caller, context, violations
from waypost.access.identity import ROLE_SCOPES, Role, Scope
from waypost.accounts import MAX_MEMBERS
from waypost.api.v1 import member_service_pb2 as pb
from waypost.api.v1.role_pb2 import ROLE_EDITOR, ROLE_OPERATOR, ROLE_OWNER, ROLE_VIEWER
from waypost.errors import LastOwner, MemberExists, PermissionDenied, ResourceNotFound, TooMany

# Has all that members are managed with, and no more than an editor beside.
MANAGER = caller(Role.OWNER, Scope.WORKSPACE_MANAGE, *ROLE_SCOPES[Role.EDITOR], principal="key:managermanagerma")


async def add(world: World, subject: str, role: Any = ROLE_EDITOR, name: str = "", by: Any = OWNER) -> pb.Member:
    return await world.members.AddMember(pb.AddMemberRequest(subject=subject, role=role, name=name), context(by))


async def update(world: World, subject: str, by: Any = OWNER, **fields: Any) -> pb.Member:
    return await world.members.UpdateMember(pb.UpdateMemberRequest(subject=subject, **fields), context(by))


async def remove(world: World, subject: str, by: Any = OWNER) -> pb.Member:
    return await world.members.RemoveMember(pb.RemoveMemberRequest(subject=subject), context(by))


@pytest.mark.parametrize(
    ("number", "role"), [(ROLE_VIEWER, Role.VIEWER), (ROLE_EDITOR, Role.EDITOR), (ROLE_OWNER, Role.OWNER)]
)
async def test_somebody_is_added(number: Any, role: Role) -> None:
    world = World()
    member = await add(world, "auth0|5f7c", number, "  Ann Ä.  ")
    assert (member.subject, member.role, member.name) == ("auth0|5f7c", number, "Ann Ä.")
    assert member.created_at.ToDatetime().year == 2026, "the store's time"
    assert world.roles() == {"auth0|5f7c": role}
    assert world.roles(ELSEWHERE) == {}
    assert world.log == [("member.add", "auth0|5f7c", {"role": role.value, "name": "Ann Ä."})]
    (event,) = world.events
    assert (event.workspace_id, event.principal, event.correlation_id) == (HERE, "user:owner", "call-1")


async def test_the_same_subject_is_a_member_once_in_each_workspace() -> None:
    world = World()
    await add(world, "ann")
    with pytest.raises(MemberExists):
        await add(world, "ann", ROLE_VIEWER)
    await add(world, "ann", ROLE_VIEWER, by=caller(workspace_id=ELSEWHERE))
    assert (world.roles(), world.roles(ELSEWHERE)) == ({"ann": Role.EDITOR}, {"ann": Role.VIEWER})
    assert len(world.events) == 2


@pytest.mark.parametrize("subject", ["", " ", "a b", "ä", "a\x00", "a\n", "x" * 256])
async def test_a_subject_is_visible_ascii(subject: str) -> None:
    world = World()
    for call in (add(world, subject), update(world, subject, name="n"), remove(world, subject)):
        assert (await violations(call)).keys() == {"subject"}
    assert world.storage.opened == 0


async def test_all_wrong_fields_are_named_at_once() -> None:
    world = World()
    wrong = await violations(add(world, "", 0, "a\x07"))
    assert wrong.keys() == {"subject", "role", "name"}
    assert wrong["role"] == "must be ROLE_VIEWER, ROLE_EDITOR or ROLE_OWNER"
    wrong = await violations(update(world, "", role=77, name="n" * 129))
    assert wrong.keys() == {"subject", "role", "name"}
    assert "77" in wrong["role"]


@pytest.mark.parametrize(
    ("role", "sentence"),
    [(0, "must be ROLE_VIEWER"), (ROLE_OPERATOR, "WAYPOST_OPERATORS"), (9, "the number 9"), (-1, "-1")],
)
async def test_a_role_that_people_cannot_have_is_refused_to_operators_too(role: Any, sentence: str) -> None:
    world = World()
    world.have_member("ann", Role.VIEWER)
    assert sentence in (await violations(add(world, "bob", role, by=OPERATOR)))["role"]
    if role:
        assert sentence in (await violations(update(world, "ann", OPERATOR, role=role)))["role"]
    assert world.roles() == {"ann": Role.VIEWER}


async def test_an_update_that_says_nothing_is_refused() -> None:
    world = World()
    world.have_member("ann", Role.VIEWER)
    assert "give one of the two" in (await violations(update(world, "ann")))["role"]
    assert (await violations(update(world, "ann", role=0))).keys() == {"role"}


async def test_nobody_gives_a_role_that_has_more_than_they() -> None:
    world = World()
    with pytest.raises(PermissionDenied) as caught:
        await add(world, "ann", ROLE_OWNER, by=MANAGER)
    assert caught.value.scope == "audit:read"
    assert "keys:manage" in str(caught.value)
    assert world.storage.opened == 0
    await add(world, "ann", ROLE_EDITOR, by=MANAGER)
    with pytest.raises(PermissionDenied):
        await update(world, "ann", MANAGER, role=ROLE_OWNER)
    assert world.roles() == {"ann": Role.EDITOR}
    assert len(world.events) == 1


async def test_nobody_changes_or_removes_who_has_more_than_they() -> None:
    world = World()
    world.have_member("ann", Role.OWNER)
    world.have_member("bob", Role.OWNER)
    for call in (
        update(world, "ann", MANAGER, role=ROLE_VIEWER),
        update(world, "ann", MANAGER, name="Ann"),
        remove(world, "ann", MANAGER),
    ):
        with pytest.raises(PermissionDenied):
            await call
    assert world.roles() == {"ann": Role.OWNER, "bob": Role.OWNER}
    assert not world.events


async def test_a_member_gets_another_role_and_name() -> None:
    world = World()
    world.have_member("ann", Role.VIEWER, "Ann")
    changed = await update(world, "ann", role=ROLE_EDITOR)
    assert (changed.role, changed.name) == (ROLE_EDITOR, "Ann")
    changed = await update(world, "ann", name="")
    assert (changed.role, changed.name) == (ROLE_EDITOR, "")
    assert world.log == [
        ("member.update", "ann", {"role": "editor", "role_before": "viewer"}),
        ("member.update", "ann", {"name": "", "name_before": "Ann"}),
    ]


async def test_an_update_to_what_is_there_is_not_logged() -> None:
    world = World()
    world.have_member("ann", Role.OWNER, "Ann")
    same = await update(world, "ann", role=ROLE_OWNER, name="Ann")
    assert same.role == ROLE_OWNER
    assert not world.events
    assert world.storage.commits == 0


@pytest.mark.parametrize("by", [OWNER, OPERATOR], ids=["owner", "operator"])
async def test_the_last_owner_stays(by: Any) -> None:
    world = World()
    world.have_member("ann", Role.OWNER)
    world.have_member("bob", Role.EDITOR)
    world.have_member("cleo", Role.OWNER, workspace_id=ELSEWHERE)
    for call in (update(world, "ann", by, role=ROLE_EDITOR), remove(world, "ann", by)):
        with pytest.raises(LastOwner):
            await call
    assert world.roles() == {"ann": Role.OWNER, "bob": Role.EDITOR}
    assert not world.events
    await update(world, "ann", by, name="Ann")
    await update(world, "bob", by, role=ROLE_OWNER)
    await update(world, "ann", by, role=ROLE_VIEWER)
    with pytest.raises(LastOwner):
        await remove(world, "bob", by)
    removed = await remove(world, "ann", by)
    assert (removed.subject, removed.role, removed.name) == ("ann", ROLE_VIEWER, "Ann")
    assert world.roles() == {"bob": Role.OWNER}
    assert world.log[-1] == ("member.remove", "ann", {"role": "viewer", "name": "Ann"})


async def test_members_of_other_workspaces_are_not_there() -> None:
    world = World()
    world.have_member("ann", Role.OWNER, workspace_id=ELSEWHERE)
    world.have_member("bob", Role.OWNER, workspace_id=ELSEWHERE)
    for call in (update(world, "ann", role=ROLE_VIEWER), remove(world, "ann")):
        with pytest.raises(ResourceNotFound):
            await call
    assert world.roles(ELSEWHERE) == {"ann": Role.OWNER, "bob": Role.OWNER}
    page = await world.members.ListMembers(pb.ListMembersRequest(), context())
    assert not page.members


async def test_a_workspace_has_so_many_members_and_no_more() -> None:
    world = World()
    for number in range(MAX_MEMBERS - 1):
        world.have_member(f"u{number}", Role.VIEWER)
    world.have_member("elsewhere", Role.VIEWER, workspace_id=ELSEWHERE)
    await add(world, "last")
    with pytest.raises(TooMany) as caught:
        await add(world, "one-more")
    assert (caught.value.type, caught.value.limit) == ("member", 10_000)
    with pytest.raises(MemberExists):
        await add(world, "last")
    await add(world, "one-more", by=caller(workspace_id=ELSEWHERE))


async def test_members_come_by_subject_page_by_page() -> None:
    world = World()
    subjects = ["B", "a", "a!", "b", "~"]
    for subject in reversed(subjects):
        world.have_member(subject, Role.VIEWER)
    found, token, pages = [], "", 0
    while True:
        page = await world.members.ListMembers(pb.ListMembersRequest(page_size=2, page_token=token), context())
        found += [member.subject for member in page.members]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
        other = pb.ListMembersRequest(page_token=token)
        wrong = await violations(world.members.ListMembers(other, context(caller(workspace_id=ELSEWHERE))))
        assert "other arguments" in wrong["page_token"]
    assert (found, pages) == (subjects, 3)


async def test_a_failed_commit_leaves_neither_member_nor_log() -> None:
    world = World()
    world.storage.commit_error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await add(world, "ann")
    assert (world.roles(), world.events) == ({}, [])
