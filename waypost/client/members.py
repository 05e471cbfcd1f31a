"""People in a workspace: one method for each of MemberService's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from waypost.api.v1 import member_service_pb2 as pb
from waypost.api.v1.member_service_pb2_grpc import MemberServiceStub
from waypost.client.connection import Connection
from waypost.client.convert import fill
from waypost.client.identity_convert import member_from_proto, role_to_proto
from waypost.client.identity_model import Member, Role
from waypost.client.model import UNSET, Unset
from waypost.client.service import Listed, Service, each

if TYPE_CHECKING:
    from waypost.api.v1.member_service_pb2_grpc import MemberServiceAsyncStub


class Members(Service["MemberServiceAsyncStub"]):
    """The members of the workspace that the client works in; a subject is that of their tokens."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, MemberServiceStub)

    async def add(self, subject: str, role: Role | str, *, name: str = "", timeout: float | None = None) -> Member:
        """Adds somebody. Raises `InvalidFields`, `MemberExists`, `TooMany`, `PermissionDenied`."""
        request = pb.AddMemberRequest()
        fill(request, {"subject": subject, "role": role_to_proto(role), "name": name})
        return member_from_proto(await self._call(lambda stub: stub.AddMember, request, timeout))

    async def list(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncIterator[Member]:
        """All members by their subjects, a page of `page_size` (at most 200) at a time."""
        async for one in each(
            lambda token: self.list_page(page_size=page_size, page_token=token, timeout=timeout),
        ):
            yield one

    async def list_page(
        self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> Listed[Member]:
        """One page of them: the first, or with `page_token` the one that follows."""
        request = pb.ListMembersRequest()
        fill(request, {"page_size": page_size, "page_token": page_token})
        answer = await self._call(lambda stub: stub.ListMembers, request, timeout)
        return Listed(tuple(map(member_from_proto, answer.members)), answer.next_page_token)

    async def update(
        self,
        subject: str,
        *,
        role: Role | str | Unset = UNSET,
        name: str | Unset = UNSET,
        timeout: float | None = None,
    ) -> Member:
        """Changes what is given and returns the member. Raises `ResourceNotFound`, `LastOwner`, `InvalidFields`."""
        request = pb.UpdateMemberRequest()
        fill(
            request,
            {
                "subject": subject,
                "role": None if isinstance(role, Unset) else role_to_proto(role),
                "name": None if isinstance(name, Unset) else name,
            },
        )
        return member_from_proto(await self._call(lambda stub: stub.UpdateMember, request, timeout))

    async def remove(self, subject: str, *, timeout: float | None = None) -> Member:
        """Takes a member out and returns who it was; what they made stays. Raises `ResourceNotFound`, `LastOwner`."""
        request = pb.RemoveMemberRequest()
        fill(request, {"subject": subject})
        return member_from_proto(await self._call(lambda stub: stub.RemoveMember, request, timeout))
