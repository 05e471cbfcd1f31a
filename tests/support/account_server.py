"""Workspaces, members, keys, audit and abuse by their contract, in memory: what clients are tested against.

One workspace at a time, and no roles: what a caller may do is for the real services' tests.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.answering import Answering
from waypost import errors
from waypost.api.v1 import (
    abuse_service_pb2,
    abuse_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    member_service_pb2,
    member_service_pb2_grpc,
    role_pb2,
    workspace_service_pb2,
    workspace_service_pb2_grpc,
)
from waypost.errors import InvalidFields

HERE = str(uuid.UUID(int=1))
"""The workspace that calls run in."""
NOW = datetime(2031, 1, 1, tzinfo=UTC)
"""When the server began; whatever happens happens a second after what was before."""
UNKNOWN_KEY = "wp_unknown.secret"
"""The one key that is refused."""


class AccountServer(
    Answering,
    workspace_service_pb2_grpc.WorkspaceServiceServicer,
    member_service_pb2_grpc.MemberServiceServicer,
    key_service_pb2_grpc.KeyServiceServicer,
    audit_service_pb2_grpc.AuditServiceServicer,
    abuse_service_pb2_grpc.AbuseServiceServicer,
):
    """The five services. `most`: events that a page has at most, whatever is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 1000
        self.workspaces = {HERE: workspace_service_pb2.Workspace(workspace_id=HERE, name="Here")}
        self.workspaces[HERE].created_at.FromDatetime(NOW)
        self.members: dict[str, member_service_pb2.Member] = {}
        self.keys: dict[str, key_service_pb2.Key] = {}
        self.events: list[audit_service_pb2.AuditEvent] = []
        self.reports: dict[str, abuse_service_pb2.Report] = {}
        self.blocked: dict[str, abuse_service_pb2.BlockedLink] = {}
        self._seconds = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds all of them to a server."""
        workspace_service_pb2_grpc.add_WorkspaceServiceServicer_to_server(self, server)
        member_service_pb2_grpc.add_MemberServiceServicer_to_server(self, server)
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(self, server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self, server)
        abuse_service_pb2_grpc.add_AbuseServiceServicer_to_server(self, server)

    def did(
        self, action: str, object: str, /, at: datetime | None = None, **details: str
    ) -> audit_service_pb2.AuditEvent:
        """Writes to the audit log."""
        event = audit_service_pb2.AuditEvent(
            event_id=str(len(self.events) + 1),
            principal="key:tester",
            address="127.0.0.1",
            action=action,
            object=object,
            details=details,
            correlation_id=f"c{len(self.events)}",
            workspace_id=HERE,
        )
        event.occurred_at.FromDatetime(at or self._now())
        self.events.append(event)
        return event

    def _now(self) -> datetime:
        self._seconds += 1
        return NOW + timedelta(seconds=self._seconds)

    # WorkspaceService

    async def CreateWorkspace(self, request: workspace_service_pb2.CreateWorkspaceRequest, context: Any) -> Any:
        def act(request: workspace_service_pb2.CreateWorkspaceRequest) -> workspace_service_pb2.Workspace:
            if not 1 <= len(request.name) <= 128:
                raise InvalidFields.one("name", "must be 1 to 128 characters")
            made = workspace_service_pb2.Workspace(workspace_id=str(uuid.uuid4()), name=request.name)
            made.created_at.FromDatetime(self._now())
            self.workspaces[made.workspace_id] = made
            self.did("workspace.create", made.workspace_id, owner=request.owner_subject)
            return made

        return await self.answer("CreateWorkspace", request, context, act)

    async def ListWorkspaces(self, request: workspace_service_pb2.ListWorkspacesRequest, context: Any) -> Any:
        def act(request: workspace_service_pb2.ListWorkspacesRequest) -> workspace_service_pb2.ListWorkspacesResponse:
            found, token = _page(sorted(self.workspaces.values(), key=lambda one: one.workspace_id), request, 200)
            return workspace_service_pb2.ListWorkspacesResponse(workspaces=found, next_page_token=token)

        return await self.answer("ListWorkspaces", request, context, act)

    async def GetWorkspace(self, request: workspace_service_pb2.GetWorkspaceRequest, context: Any) -> Any:
        return await self.answer("GetWorkspace", request, context, lambda _: self.workspaces[HERE])

    async def UpdateWorkspace(self, request: workspace_service_pb2.UpdateWorkspaceRequest, context: Any) -> Any:
        def act(request: workspace_service_pb2.UpdateWorkspaceRequest) -> workspace_service_pb2.Workspace:
            self.workspaces[HERE].name = request.name
            self.did("workspace.update", HERE, name=request.name)
            return self.workspaces[HERE]

        return await self.answer("UpdateWorkspace", request, context, act)

    async def GetCaller(self, request: workspace_service_pb2.GetCallerRequest, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())

        def act(_: workspace_service_pb2.GetCallerRequest) -> workspace_service_pb2.Caller:
            key, token = metadata.get("x-api-key", ""), metadata.get("authorization", "")
            if key == UNKNOWN_KEY:
                raise errors.Unauthenticated("the API key is not known")
            if not key and not token:
                return workspace_service_pb2.Caller(principal="anonymous")
            name = f"key:{key[3:].partition('.')[0]}" if key else f"user:{token.removeprefix('Bearer ')}"
            return workspace_service_pb2.Caller(
                principal=name,
                workspace_id=metadata.get("x-workspace", HERE),
                role=role_pb2.ROLE_VIEWER,
                scopes=["links:read", "workspace:read"],
            )

        return await self.answer("GetCaller", request, context, act)

    # MemberService

    async def AddMember(self, request: member_service_pb2.AddMemberRequest, context: Any) -> Any:
        def act(request: member_service_pb2.AddMemberRequest) -> member_service_pb2.Member:
            if not request.subject:
                raise InvalidFields.one("subject", "must be 1 to 255 visible ASCII characters")
            if request.subject in self.members:
                raise errors.MemberExists(request.subject)
            member = member_service_pb2.Member(subject=request.subject, role=request.role, name=request.name)
            member.created_at.FromDatetime(self._now())
            self.members[member.subject] = member
            self.did("member.add", member.subject)
            return member

        return await self.answer("AddMember", request, context, act)

    async def ListMembers(self, request: member_service_pb2.ListMembersRequest, context: Any) -> Any:
        def act(request: member_service_pb2.ListMembersRequest) -> member_service_pb2.ListMembersResponse:
            found, token = _page([self.members[name] for name in sorted(self.members)], request, 200)
            return member_service_pb2.ListMembersResponse(members=found, next_page_token=token)

        return await self.answer("ListMembers", request, context, act)

    async def UpdateMember(self, request: member_service_pb2.UpdateMemberRequest, context: Any) -> Any:
        def act(request: member_service_pb2.UpdateMemberRequest) -> member_service_pb2.Member:
            member = self._member(request.subject)
            if request.HasField("role"):
                if request.role != role_pb2.ROLE_OWNER:
                    self._must_leave_an_owner(member)
                member.role = request.role
            if request.HasField("name"):
                member.name = request.name
            return member

        return await self.answer("UpdateMember", request, context, act)

    async def RemoveMember(self, request: member_service_pb2.RemoveMemberRequest, context: Any) -> Any:
        def act(request: member_service_pb2.RemoveMemberRequest) -> member_service_pb2.Member:
            self._must_leave_an_owner(self._member(request.subject))
            return self.members.pop(request.subject)

        return await self.answer("RemoveMember", request, context, act)

    def _member(self, subject: str) -> member_service_pb2.Member:
        if subject not in self.members:
            raise errors.ResourceNotFound("member", subject)
        return self.members[subject]

    def _must_leave_an_owner(self, member: member_service_pb2.Member) -> None:
        owners = [one.subject for one in self.members.values() if one.role == role_pb2.ROLE_OWNER]
        if owners == [member.subject]:
            raise errors.LastOwner(member.subject)

    # KeyService

    async def CreateKey(self, request: key_service_pb2.CreateKeyRequest, context: Any) -> Any:
        def act(request: key_service_pb2.CreateKeyRequest) -> key_service_pb2.CreateKeyResponse:
            if not request.name:
                raise InvalidFields.one("name", "must be 1 to 128 characters")
            name = hashlib.sha256(f"{id(self)} {len(self.keys)}".encode()).hexdigest()[:16]
            key = key_service_pb2.Key(
                key_id=name,
                name=request.name,
                role=request.role or role_pb2.ROLE_EDITOR,
                scopes=sorted(request.scopes) or ["links:read", "links:write"],
                created_by="key:tester",
            )
            key.created_at.FromDatetime(self._now())
            if request.HasField("expires_at"):
                key.expires_at.CopyFrom(request.expires_at)
            elif request.HasField("ttl_seconds"):
                key.expires_at.FromDatetime(NOW + timedelta(seconds=request.ttl_seconds))
            self.keys[name] = key
            self.did("key.create", name, name=request.name)
            return key_service_pb2.CreateKeyResponse(key=key, secret=f"wp_{name}.{'s' * 43}")

        return await self.answer("CreateKey", request, context, act)

    async def ListKeys(self, request: key_service_pb2.ListKeysRequest, context: Any) -> Any:
        def act(request: key_service_pb2.ListKeysRequest) -> key_service_pb2.ListKeysResponse:
            found, token = _page(list(reversed(self.keys.values())), request, 200)
            return key_service_pb2.ListKeysResponse(keys=found, next_page_token=token)

        return await self.answer("ListKeys", request, context, act)

    async def GetKey(self, request: key_service_pb2.GetKeyRequest, context: Any) -> Any:
        return await self.answer("GetKey", request, context, lambda request: self._key(request.key_id))

    async def RevokeKey(self, request: key_service_pb2.RevokeKeyRequest, context: Any) -> Any:
        def act(request: key_service_pb2.RevokeKeyRequest) -> key_service_pb2.Key:
            key = self._key(request.key_id)
            if not key.HasField("revoked_at"):
                key.revoked_at.FromDatetime(self._now())
                self.did("key.revoke", key.key_id)
            return key

        return await self.answer("RevokeKey", request, context, act)

    def _key(self, key_id: str) -> key_service_pb2.Key:
        if key_id not in self.keys:
            raise errors.ResourceNotFound("key", key_id)
        return self.keys[key_id]

    # AuditService

    async def ListAuditEvents(self, request: audit_service_pb2.ListAuditEventsRequest, context: Any) -> Any:
        def act(
            request: audit_service_pb2.ListAuditEventsRequest,
        ) -> audit_service_pb2.ListAuditEventsResponse:
            events = sorted(
                self.events,
                key=lambda event: (event.occurred_at.ToNanoseconds(), int(event.event_id)),
                reverse=True,
            )
            matching = [event for event in events if _meets(event, request)]
            found, token = _page(matching, request, min(self.most, 1000), default=100)
            return audit_service_pb2.ListAuditEventsResponse(events=found, next_page_token=token)

        return await self.answer("ListAuditEvents", request, context, act)

    # AbuseService

    async def ReportLink(self, request: abuse_service_pb2.ReportLinkRequest, context: Any) -> Any:
        def act(request: abuse_service_pb2.ReportLinkRequest) -> abuse_service_pb2.ReportLinkResponse:
            code = request.link.rpartition("/")[2]
            if code == "nobody":
                raise errors.LinkNotFound(code)
            report = abuse_service_pb2.Report(
                report_id=str(uuid.uuid4()),
                short_code=code,
                category=request.category or abuse_service_pb2.REPORT_CATEGORY_OTHER,
                comment=request.comment,
                contact=request.contact,
                original_url="https://example.com/",
                blocked=code in self.blocked,
                workspace_id=HERE,
            )
            report.created_at.FromDatetime(self._now())
            self.reports[report.report_id] = report
            return abuse_service_pb2.ReportLinkResponse(report_id=report.report_id)

        return await self.answer("ReportLink", request, context, act)

    async def ListReports(self, request: abuse_service_pb2.ListReportsRequest, context: Any) -> Any:
        def act(request: abuse_service_pb2.ListReportsRequest) -> abuse_service_pb2.ListReportsResponse:
            matching = [
                report
                for report in self.reports.values()
                if report.HasField("closed_at") is request.closed and request.link in ("", report.short_code)
            ]
            found, token = _page(matching, request, 200)
            return abuse_service_pb2.ListReportsResponse(reports=found, next_page_token=token)

        return await self.answer("ListReports", request, context, act)

    async def CloseReport(self, request: abuse_service_pb2.CloseReportRequest, context: Any) -> Any:
        def act(request: abuse_service_pb2.CloseReportRequest) -> abuse_service_pb2.Report:
            if request.report_id not in self.reports:
                raise errors.ResourceNotFound("report", request.report_id)
            self._close([self.reports[request.report_id]])
            return self.reports[request.report_id]

        return await self.answer("CloseReport", request, context, act)

    async def BlockLink(self, request: abuse_service_pb2.BlockLinkRequest, context: Any) -> Any:
        def act(request: abuse_service_pb2.BlockLinkRequest) -> abuse_service_pb2.BlockedLink:
            link = _link(request)
            link.blocked_at.FromDatetime(self._now())
            link.reason = request.reason
            self.blocked[link.short_code] = link
            self._close([one for one in self.reports.values() if one.short_code == link.short_code])
            return link

        return await self.answer("BlockLink", request, context, act)

    async def UnblockLink(self, request: abuse_service_pb2.UnblockLinkRequest, context: Any) -> Any:
        def act(request: abuse_service_pb2.UnblockLinkRequest) -> abuse_service_pb2.BlockedLink:
            link = _link(request)
            self.blocked.pop(link.short_code, None)
            return link

        return await self.answer("UnblockLink", request, context, act)

    async def ListBlockedLinks(self, request: abuse_service_pb2.ListBlockedLinksRequest, context: Any) -> Any:
        def act(request: abuse_service_pb2.ListBlockedLinksRequest) -> abuse_service_pb2.ListBlockedLinksResponse:
            found, token = _page(list(reversed(self.blocked.values())), request, 200)
            return abuse_service_pb2.ListBlockedLinksResponse(links=found, next_page_token=token)

        return await self.answer("ListBlockedLinks", request, context, act)

    def _close(self, reports: Iterable[abuse_service_pb2.Report]) -> None:
        for report in reports:
            if not report.HasField("closed_at"):
                report.closed_at.FromDatetime(self._now())


def _link(
    request: abuse_service_pb2.BlockLinkRequest | abuse_service_pb2.UnblockLinkRequest,
) -> abuse_service_pb2.BlockedLink:
    if request.short_code == "nobody":
        raise errors.LinkNotFound(request.short_code)
    if not request.reason:
        raise InvalidFields.one("reason", "must be 1 to 1,000 characters")
    return abuse_service_pb2.BlockedLink(
        short_code=request.short_code, original_url="https://example.com/", workspace_id=HERE
    )


def _meets(event: audit_service_pb2.AuditEvent, wanted: audit_service_pb2.ListAuditEventsRequest) -> bool:
    at = event.occurred_at.ToNanoseconds()
    since: Timestamp = getattr(wanted, "from")
    return (
        wanted.principal in ("", event.principal)
        and (
            event.action.startswith(wanted.action)
            if wanted.action.endswith(".")
            else wanted.action in ("", event.action)
        )
        and wanted.object in ("", event.object)
        and (not wanted.HasField("from") or at >= since.ToNanoseconds())
        and (not wanted.HasField("until") or at < wanted.until.ToNanoseconds())
    )


def _page(rows: Sequence[Any], request: Any, most: int, *, default: int = 50) -> tuple[Sequence[Any], str]:
    """The rows of a page and the token of the next one, which is bound to the other arguments."""
    asked = type(request).FromString(request.SerializeToString())
    for name in ("page_size", "page_token"):
        asked.ClearField(name)
    digest = hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()
    start, _, before = request.page_token.partition("|") if request.page_token else ("0", "", digest)
    if before != digest:
        raise InvalidFields.one("page_token", "came with other arguments")
    end = int(start) + min(request.page_size or default, most)
    return rows[int(start) : end], f"{end}|{digest}" if end < len(rows) else ""
