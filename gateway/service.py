"""LinkService: protobuf in, use case, protobuf out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gateway.convert import create_from_proto, resolve_to_proto, update_from_proto
from gateway.following import RedirectHandlers
from gateway.handlers import LinkHandlers, Outcome
from gateway.idempotency import Mutation, key_of
from gateway.requests import Caller
from gateway.transactions import Reply
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import link_service_pb2_grpc as pb_grpc
from waypost.convert import link_to_proto, short_url
from waypost.errors import PermissionDenied
from waypost.model import Link
from waypost.ports import Clock
from waypost.rpc.context import CallContext
from waypost.rpc.status import to_status

T = TypeVar("T")


class LinkService(pb_grpc.LinkServiceServicer):
    """The public API of links. Errors are raised as they are; the chain makes statuses of them.

    Answers to changes come as bytes, which may be those of an earlier call; parsed and serialised they stay the same.
    """

    def __init__(
        self,
        links: LinkHandlers,
        redirects: RedirectHandlers,
        clock: Clock,
        public_url: str,
    ) -> None:
        self._links = links
        self._redirects = redirects
        self._clock = clock
        self._public_url = public_url

    async def CreateLink(self, request: pb.CreateLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        caller = caller_of(context)
        reply = self._reply(request, context, caller, self._link_bytes)
        return pb.Link.FromString(await self._links.create(create_from_proto(request), caller, reply))

    async def BatchCreateLinks(self, request: pb.BatchCreateLinksRequest, context: Any) -> pb.BatchCreateLinksResponse:
        """See the contract."""
        caller = caller_of(context)

        def encode(outcomes: Sequence[Outcome]) -> bytes:
            results = [self._result(outcome, caller.correlation_id) for outcome in outcomes]
            return pb.BatchCreateLinksResponse(results=results).SerializeToString()

        requests = [create_from_proto(item, in_batch=True) for item in request.requests]
        reply = self._reply(request, context, caller, encode)
        return pb.BatchCreateLinksResponse.FromString(await self._links.batch_create(requests, caller, reply))

    async def GetLink(self, request: pb.GetLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        return self._link(await self._links.get(request.short_code, caller_of(context)))

    async def ListLinks(self, request: pb.ListLinksRequest, context: Any) -> pb.ListLinksResponse:
        """See the contract."""
        links, next_page_token = await self._links.page(
            caller_of(context),
            filter_text=request.filter,
            order_by=request.order_by,
            size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListLinksResponse(links=map(self._link, links), next_page_token=next_page_token)

    async def UpdateLink(self, request: pb.UpdateLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        caller = caller_of(context)
        reply = self._reply(request, context, caller, self._link_bytes)
        return pb.Link.FromString(await self._links.update(update_from_proto(request), caller, reply))

    async def DeleteLink(self, request: pb.DeleteLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        caller = caller_of(context)
        reply = self._reply(request, context, caller, self._link_bytes)
        return pb.Link.FromString(await self._links.delete(request.short_code, request.etag, caller, reply))

    async def UndeleteLink(self, request: pb.UndeleteLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        caller = caller_of(context)
        reply = self._reply(request, context, caller, self._link_bytes)
        return pb.Link.FromString(await self._links.undelete(request.short_code, request.etag, caller, reply))

    async def ResolveLink(self, request: pb.ResolveLinkRequest, context: Any) -> pb.ResolveLinkResponse:
        """See the contract."""
        answer = await self._redirects.look(request.short_code, lambda: context.identity.address)
        return resolve_to_proto(request.short_code, answer)

    def _link(self, link: Link) -> pb.Link:
        return link_to_proto(link, short_url(self._public_url, link.short_code), self._clock.now())

    def _link_bytes(self, link: Link) -> bytes:
        return self._link(link).SerializeToString()

    def _result(self, outcome: Outcome, correlation_id: str) -> pb.BatchCreateLinkResult:
        if isinstance(outcome, Link):
            return pb.BatchCreateLinkResult(link=self._link(outcome))
        return pb.BatchCreateLinkResult(error=to_status(outcome, correlation_id).to_proto())

    def _reply(self, request: Mutation, context: CallContext, caller: Caller, encode: Callable[[T], bytes]) -> Reply[T]:
        return Reply(encode, key_of(request, context, caller.identity))


def caller_of(context: CallContext) -> Caller:
    """On whose behalf the call is; the table of policies lets nobody without a workspace call these methods."""
    workspace_id = context.identity.workspace_id
    if workspace_id is None:
        raise PermissionDenied("workspace", "the call runs in no workspace")
    return Caller(context.identity, workspace_id, context.correlation_id)
