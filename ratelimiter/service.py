"""The gRPC servicer of `waypost.api.v1.RateLimitService`: proto in, handler, proto out."""

from __future__ import annotations

from ratelimiter.convert import from_check_request, to_check_response
from ratelimiter.handlers import Checker
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as pb_grpc


class RateLimitService(pb_grpc.RateLimitServiceServicer):
    """Answers with `checker`; errors are raised, for the chain in front to turn into statuses."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker

    async def Check(self, request: pb.CheckRequest, context: object) -> pb.CheckResponse:
        """Decides on one request."""
        return to_check_response(self._checker.check(*from_check_request(request)))
