"""LinkService: protobuf in, use case, protobuf out."""

from __future__ import annotations

from typing import Any

from gateway.address import Network, client_address
from gateway.convert import create_from_proto, resolve_to_proto
from gateway.handlers import Caller, LinkHandlers
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import link_service_pb2_grpc as pb_grpc
from waypost.convert import link_to_proto, short_url
from waypost.model import Link
from waypost.ports import Clock
from waypost.rpc.context import CallContext


class LinkService(pb_grpc.LinkServiceServicer):
    """The public API of links. Errors are raised as they are; the chain makes statuses of them."""

    def __init__(self, handlers: LinkHandlers, clock: Clock, public_url: str, trusted: tuple[Network, ...]) -> None:
        self._handlers = handlers
        self._clock = clock
        self._public_url = public_url
        self._trusted = trusted

    async def CreateLink(self, request: pb.CreateLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        return self._link(await self._handlers.create(create_from_proto(request), self._caller(context)))

    async def GetLink(self, request: pb.GetLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        return self._link(await self._handlers.get(request.short_code))

    async def DeleteLink(self, request: pb.DeleteLinkRequest, context: Any) -> pb.Link:
        """See the contract."""
        return self._link(await self._handlers.delete(request.short_code, self._caller(context)))

    async def ResolveLink(self, request: pb.ResolveLinkRequest, context: Any) -> pb.ResolveLinkResponse:
        """See the contract."""
        return resolve_to_proto(request.short_code, await self._handlers.resolve(request.short_code))

    def _link(self, link: Link) -> pb.Link:
        return link_to_proto(link, short_url(self._public_url, link.short_code), self._clock.now())

    def _caller(self, context: CallContext) -> Caller:
        return Caller(client_address(context, self._trusted), context.correlation_id)
