"""The audit log: what was done, the latest first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

from waypost.api.v1 import audit_service_pb2 as pb
from waypost.api.v1.audit_service_pb2_grpc import AuditServiceStub
from waypost.client.connection import Connection
from waypost.client.convert import fill
from waypost.client.identity_convert import event_from_proto
from waypost.client.identity_model import AuditEvent
from waypost.client.service import Listed, Service, each

if TYPE_CHECKING:
    from waypost.api.v1.audit_service_pb2_grpc import AuditServiceAsyncStub


class Audit(Service["AuditServiceAsyncStub"]):
    """The audit log of the workspace that the client works in; operators may read that of all."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, AuditServiceStub)

    async def list(
        self,
        *,
        principal: str = "",
        action: str = "",
        object: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        all_workspaces: bool = False,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[AuditEvent]:
        """All events that meet every condition given, the latest first; a page of `page_size` (at most 1,000) a time.

        `action` may be a kind (`key.`); from `since` on and before `until`, both with a time zone. `timeout` is for
        each page. Raises `InvalidFields`.
        """
        async for one in each(
            lambda token: self.list_page(
                principal=principal,
                action=action,
                object=object,
                since=since,
                until=until,
                all_workspaces=all_workspaces,
                page_size=page_size,
                page_token=token,
                timeout=timeout,
            ),
        ):
            yield one

    async def list_page(
        self,
        *,
        principal: str = "",
        action: str = "",
        object: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        all_workspaces: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Listed[AuditEvent]:
        """One page: the first, or with `page_token` the one that follows; all else must be as it was for the first.

        A page may have fewer events than asked for, or none, and yet another one after it.
        """
        request = pb.ListAuditEventsRequest()
        fill(
            request,
            {
                "principal": principal,
                "action": action,
                "object": object,
                "from": since,
                "until": until,
                "all_workspaces": all_workspaces,
                "page_size": page_size,
                "page_token": page_token,
            },
        )
        answer = await self._call(lambda stub: stub.ListAuditEvents, request, timeout)
        return Listed(tuple(map(event_from_proto, answer.events)), answer.next_page_token)
