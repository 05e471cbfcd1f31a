"""Workspaces, and who is calling: one method for each of WorkspaceService's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from waypost.api.v1 import workspace_service_pb2 as pb
from waypost.api.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from waypost.client.connection import Connection
from waypost.client.convert import fill
from waypost.client.identity_convert import caller_from_proto, workspace_from_proto
from waypost.client.identity_model import Caller, Workspace
from waypost.client.service import Listed, Service, each

if TYPE_CHECKING:
    from waypost.api.v1.workspace_service_pb2_grpc import WorkspaceServiceAsyncStub


class Workspaces(Service["WorkspaceServiceAsyncStub"]):
    """The workspaces that the caller may work in."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, WorkspaceServiceStub)

    async def whoami(self, *, timeout: float | None = None) -> Caller:
        """Who the server takes the caller for, and what they may do in the workspace of their calls."""
        request = pb.GetCallerRequest()
        return caller_from_proto(await self._call(lambda stub: stub.GetCaller, request, timeout))

    async def create(self, name: str, *, owner_subject: str = "", timeout: float | None = None) -> Workspace:
        """Makes a workspace, for operators; somebody with `owner_subject` in their tokens becomes its owner.

        Raises `InvalidFields`.
        """
        request = pb.CreateWorkspaceRequest()
        fill(request, {"name": name, "owner_subject": owner_subject})
        return workspace_from_proto(await self._call(lambda stub: stub.CreateWorkspace, request, timeout))

    async def list(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncIterator[Workspace]:
        """All workspaces that the caller may name, by their ids, a page of `page_size` (at most 200) at a time."""
        async for one in each(
            lambda token: self.list_page(page_size=page_size, page_token=token, timeout=timeout),
        ):
            yield one

    async def list_page(
        self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> Listed[Workspace]:
        """One page of them: the first, or with `page_token` the one that follows."""
        request = pb.ListWorkspacesRequest()
        fill(request, {"page_size": page_size, "page_token": page_token})
        answer = await self._call(lambda stub: stub.ListWorkspaces, request, timeout)
        return Listed(tuple(map(workspace_from_proto, answer.workspaces)), answer.next_page_token)

    async def get(self, *, timeout: float | None = None) -> Workspace:
        """The workspace that the client works in."""
        request = pb.GetWorkspaceRequest()
        return workspace_from_proto(await self._call(lambda stub: stub.GetWorkspace, request, timeout))

    async def rename(self, name: str, *, timeout: float | None = None) -> Workspace:
        """Gives the workspace that the client works in another name. Raises `InvalidFields`."""
        request = pb.UpdateWorkspaceRequest()
        fill(request, {"name": name})
        return workspace_from_proto(await self._call(lambda stub: stub.UpdateWorkspace, request, timeout))
