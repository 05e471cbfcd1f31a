"""WorkspaceService, MemberService, KeyService and AuditService: protobuf in, use case, protobuf out.

Errors are raised as they are; the chain makes statuses of them.
"""

from __future__ import annotations

from typing import Any

from gateway.accounts import convert
from gateway.accounts.handlers.audit import AuditHandlers
from gateway.accounts.handlers.keys import KeyHandlers
from gateway.accounts.handlers.members import MemberHandlers
from gateway.accounts.handlers.workspaces import WorkspaceHandlers
from gateway.idempotency import HEADER
from gateway.service import caller_of
from waypost.api.v1 import audit_service_pb2 as audit_pb
from waypost.api.v1 import key_service_pb2 as key_pb
from waypost.api.v1 import member_service_pb2 as member_pb
from waypost.api.v1 import workspace_service_pb2 as workspace_pb
from waypost.api.v1.audit_service_pb2_grpc import AuditServiceServicer
from waypost.api.v1.key_service_pb2_grpc import KeyServiceServicer
from waypost.api.v1.member_service_pb2_grpc import MemberServiceServicer
from waypost.api.v1.workspace_service_pb2_grpc import WorkspaceServiceServicer
from waypost.errors import FieldViolation
from waypost.rpc.context import CallContext

_NO_SECOND_ANSWER = FieldViolation(
    HEADER,
    "is not taken here: the answer has a secret, which is kept for nobody. Leave it out; if an answer was lost, revoke "
    "the key by its name and make another",
)


class WorkspaceService(WorkspaceServiceServicer):
    """Workspaces, and who is calling."""

    def __init__(self, workspaces: WorkspaceHandlers) -> None:
        self._workspaces = workspaces

    async def CreateWorkspace(
        self, request: workspace_pb.CreateWorkspaceRequest, context: Any
    ) -> workspace_pb.Workspace:
        """See the contract."""
        made = await self._workspaces.create(
            request.name, request.owner_subject, context.identity, context.correlation_id
        )
        return convert.workspace_to_proto(made)

    async def ListWorkspaces(
        self, request: workspace_pb.ListWorkspacesRequest, context: Any
    ) -> workspace_pb.ListWorkspacesResponse:
        """See the contract."""
        found, token = await self._workspaces.page(convert.page_from_proto(request), context.identity)
        return workspace_pb.ListWorkspacesResponse(
            workspaces=map(convert.workspace_to_proto, found), next_page_token=token
        )

    async def GetWorkspace(self, request: workspace_pb.GetWorkspaceRequest, context: Any) -> workspace_pb.Workspace:
        """See the contract."""
        return convert.workspace_to_proto(await self._workspaces.get(caller_of(context)))

    async def UpdateWorkspace(
        self, request: workspace_pb.UpdateWorkspaceRequest, context: Any
    ) -> workspace_pb.Workspace:
        """See the contract."""
        return convert.workspace_to_proto(await self._workspaces.rename(request.name, caller_of(context)))

    async def GetCaller(self, request: workspace_pb.GetCallerRequest, context: Any) -> workspace_pb.Caller:
        """See the contract."""
        return convert.caller_to_proto(context.identity)


class MemberService(MemberServiceServicer):
    """People in a workspace."""

    def __init__(self, members: MemberHandlers) -> None:
        self._members = members

    async def AddMember(self, request: member_pb.AddMemberRequest, context: Any) -> member_pb.Member:
        """See the contract."""
        asked = convert.add_member_from_proto(request)
        return convert.member_to_proto(await self._members.add(asked, caller_of(context)))

    async def ListMembers(self, request: member_pb.ListMembersRequest, context: Any) -> member_pb.ListMembersResponse:
        """See the contract."""
        found, token = await self._members.page(convert.page_from_proto(request), caller_of(context))
        return member_pb.ListMembersResponse(members=map(convert.member_to_proto, found), next_page_token=token)

    async def UpdateMember(self, request: member_pb.UpdateMemberRequest, context: Any) -> member_pb.Member:
        """See the contract."""
        asked = convert.update_member_from_proto(request)
        return convert.member_to_proto(await self._members.update(asked, caller_of(context)))

    async def RemoveMember(self, request: member_pb.RemoveMemberRequest, context: Any) -> member_pb.Member:
        """See the contract."""
        return convert.member_to_proto(await self._members.remove(request.subject, caller_of(context)))


class KeyService(KeyServiceServicer):
    """API keys. No answer with a secret is kept or logged."""

    def __init__(self, keys: KeyHandlers) -> None:
        self._keys = keys

    async def CreateKey(self, request: key_pb.CreateKeyRequest, context: Any) -> key_pb.CreateKeyResponse:
        """See the contract."""
        asked = convert.create_key_from_proto(request, [_NO_SECOND_ANSWER] if _has_key(context) else [])
        key, secret = await self._keys.create(asked, caller_of(context))
        return key_pb.CreateKeyResponse(key=convert.key_to_proto(key), secret=secret.text)

    async def ListKeys(self, request: key_pb.ListKeysRequest, context: Any) -> key_pb.ListKeysResponse:
        """See the contract."""
        found, token = await self._keys.page(convert.page_from_proto(request), caller_of(context))
        return key_pb.ListKeysResponse(keys=map(convert.key_to_proto, found), next_page_token=token)

    async def GetKey(self, request: key_pb.GetKeyRequest, context: Any) -> key_pb.Key:
        """See the contract."""
        return convert.key_to_proto(await self._keys.get(request.key_id, caller_of(context)))

    async def RevokeKey(self, request: key_pb.RevokeKeyRequest, context: Any) -> key_pb.Key:
        """See the contract."""
        return convert.key_to_proto(await self._keys.revoke(request.key_id, caller_of(context)))


class AuditService(AuditServiceServicer):
    """The audit log."""

    def __init__(self, audit: AuditHandlers) -> None:
        self._audit = audit

    async def ListAuditEvents(
        self, request: audit_pb.ListAuditEventsRequest, context: Any
    ) -> audit_pb.ListAuditEventsResponse:
        """See the contract."""
        found, token = await self._audit.page(convert.list_events_from_proto(request), caller_of(context))
        return audit_pb.ListAuditEventsResponse(events=map(convert.event_to_proto, found), next_page_token=token)


def _has_key(context: CallContext) -> bool:
    return any(name == HEADER for name, _ in context.invocation_metadata())
