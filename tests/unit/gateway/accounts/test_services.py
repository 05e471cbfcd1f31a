"""The four services of accounts on a real port: every method is served, and the log has no secret."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor

from tests.support.service import details_of, reason_of, running, status_of
from tests.unit.gateway.accounts.world import OPERATOR, World
from waypost.access.identity import Role
from waypost.api.v1 import audit_service_pb2, key_service_pb2, member_service_pb2, workspace_service_pb2
from waypost.api.v1.audit_service_pb2_grpc import AuditServiceStub
from waypost.api.v1.key_service_pb2_grpc import KeyServiceStub
from waypost.api.v1.member_service_pb2_grpc import MemberServiceStub
from waypost.api.v1.role_pb2 import ROLE_OWNER, ROLE_VIEWER
from waypost.api.v1.workspace_service_pb2_grpc import WorkspaceServiceStub


def served(world: World) -> list[object]:
    """All servicers."""
    return [world.workspaces, world.members, world.keys, world.audit]


@pytest.mark.parametrize(
    ("place", "module"),
    list(enumerate([workspace_service_pb2, member_service_pb2, key_service_pb2, audit_service_pb2])),
    ids=["workspace", "member", "key", "audit"],
)
def test_every_method_of_the_contract_is_served(place: int, module: Any) -> None:
    (service,) = module.DESCRIPTOR.services_by_name.values()
    assert isinstance(service, ServiceDescriptor)
    servicer = served(World())[place]
    assert service.name == type(servicer).__name__
    assert {method.name for method in service.methods} <= vars(type(servicer)).keys()


async def test_a_secret_is_in_one_answer_and_in_no_line_of_the_log() -> None:
    world = World()
    async with running(*served(world), identity=OPERATOR, log_level="debug") as service:
        keys: Any = KeyServiceStub(service.channel)
        made = await keys.CreateKey(key_service_pb2.CreateKeyRequest(name="CI"))
        listed = await keys.ListKeys(key_service_pb2.ListKeysRequest())
        revoked = await keys.RevokeKey(key_service_pb2.RevokeKeyRequest(key_id=made.key.key_id))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await keys.CreateKey(key_service_pb2.CreateKeyRequest(name="CI"), metadata=[("idempotency-key", "k")])
        audit: Any = AuditServiceStub(service.channel)
        events = await audit.ListAuditEvents(audit_service_pb2.ListAuditEventsRequest())
        await service.log.rpc(5)
        text = service.log.text
    secret = made.secret.partition(".")[2]
    assert len(secret) == 43
    assert list(listed.keys) == [made.key]
    assert revoked.HasField("revoked_at")
    assert [event.action for event in events.events] == ["key.revoke", "key.create"]
    assert text.count("/CreateKey") == 2
    for place in (text, str(listed), str(revoked), str(events)):
        assert secret not in place
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = details_of(status_of(caught.value))["BadRequest"].field_violations
    assert violation.field == "idempotency-key"


async def test_refusals_have_the_codes_of_the_contract() -> None:
    world = World()
    world.have_member("ann", Role.OWNER)
    async with running(*served(world), identity=OPERATOR) as service:
        members: Any = MemberServiceStub(service.channel)
        keys: Any = KeyServiceStub(service.channel)
        workspaces: Any = WorkspaceServiceStub(service.channel)

        async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            return caught.value.code(), reason_of(caught.value)[0]

        pb = member_service_pb2
        assert await refusal(members.RemoveMember(pb.RemoveMemberRequest(subject="ann"))) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "LAST_OWNER",
        )
        assert await refusal(members.AddMember(pb.AddMemberRequest(subject="ann", role=ROLE_OWNER))) == (
            grpc.StatusCode.ALREADY_EXISTS,
            "MEMBER_EXISTS",
        )
        assert await refusal(members.UpdateMember(pb.UpdateMemberRequest(subject="bob", role=ROLE_VIEWER))) == (
            grpc.StatusCode.NOT_FOUND,
            "RESOURCE_NOT_FOUND",
        )
        assert await refusal(keys.GetKey(key_service_pb2.GetKeyRequest(key_id="A" * 16))) == (
            grpc.StatusCode.NOT_FOUND,
            "RESOURCE_NOT_FOUND",
        )
        caller = await workspaces.GetCaller(workspace_service_pb2.GetCallerRequest())
        assert caller.principal == OPERATOR.principal
        made = await workspaces.CreateWorkspace(workspace_service_pb2.CreateWorkspaceRequest(name="new"))
        listed = await workspaces.ListWorkspaces(workspace_service_pb2.ListWorkspacesRequest(page_size=200))
        assert made in listed.workspaces
