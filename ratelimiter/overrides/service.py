"""LimitOverrideService: protobuf in, use case, protobuf out."""

from __future__ import annotations

from typing import Any

from ratelimiter.overrides.convert import list_from_proto, override_to_proto, set_from_proto
from ratelimiter.overrides.handlers import OverrideHandlers
from ratelimiter.overrides.requests import Caller
from waypost.api.v1 import limit_override_service_pb2 as pb
from waypost.api.v1 import limit_override_service_pb2_grpc as pb_grpc
from waypost.rpc.context import CallContext


class LimitOverrideService(pb_grpc.LimitOverrideServiceServicer):
    """The public API of overrides. Errors are raised as they are; the chain makes statuses of them."""

    def __init__(self, overrides: OverrideHandlers) -> None:
        self._overrides = overrides

    async def SetOverride(self, request: pb.SetOverrideRequest, context: Any) -> pb.LimitOverride:
        """See the contract."""
        return override_to_proto(await self._overrides.set(set_from_proto(request), _caller_of(context)))

    async def ListOverrides(self, request: pb.ListOverridesRequest, context: Any) -> pb.ListOverridesResponse:
        """See the contract."""
        page, next_page_token = await self._overrides.page(list_from_proto(request))
        return pb.ListOverridesResponse(
            overrides=map(override_to_proto, page.overrides), next_page_token=next_page_token
        )

    async def DeleteOverride(self, request: pb.DeleteOverrideRequest, context: Any) -> pb.LimitOverride:
        """See the contract."""
        return override_to_proto(await self._overrides.delete(request.override_id, _caller_of(context)))


def _caller_of(context: CallContext) -> Caller:
    return Caller(context.identity, context.correlation_id)
