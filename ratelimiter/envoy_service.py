"""The servicer of `envoy.service.ratelimit.v3.RateLimitService`: what Envoy itself asks."""

from __future__ import annotations

from typing import Any

from envoy.service.ratelimit.v3 import rls_pb2 as pb
from envoy.service.ratelimit.v3 import rls_pb2_grpc as pb_grpc

from ratelimiter.envoy_convert import from_rate_limit_request, to_metadata, to_rate_limit_response
from ratelimiter.handlers import Checker
from ratelimiter.headers import response_headers
from ratelimiter.requests import NO_DESCRIPTORS, NO_DOMAIN
from ratelimiter.results import CheckResult
from waypost.errors import InvalidFields, UnknownMethod
from waypost.rpc.access import EDGE_HEADER

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


class EnvoyRateLimitService(pb_grpc.RateLimitServiceServicer):  # type: ignore[misc]  # its package has no types
    """Answers with `checker`. Errors are raised, for the chain in front to turn into statuses.

    `headers`: whether answers bring headers for clients; `metadata`: whether they bring what was asked as dynamic
    metadata. `shadow_mode`: whether the checker refuses nothing.
    """

    def __init__(
        self, checker: Checker, *, headers: bool = True, metadata: bool = False, shadow_mode: bool = False
    ) -> None:
        self._checker = checker
        self._headers = headers
        self._metadata = metadata
        self._shadow_mode = shadow_mode

    async def ShouldRateLimit(self, request: pb.RateLimitRequest, context: Any) -> pb.RateLimitResponse:
        """Decides on one request. Raises `InvalidFields`; `UnknownMethod` to who comes through the edge.

        An answer that was given without the store says so in a header and in dynamic metadata (`degraded`).
        """
        if EDGE_HEADER in context.headers:
            raise UnknownMethod(context.method)
        try:
            result = await self._checker.check(from_rate_limit_request(request))
        except InvalidFields as error:
            raise _as_the_reference_says(error) from None
        return self._told(request, result)

    async def without_store(self, message: bytes) -> bytes:
        """The answer, on the wire, to a request for which the store has been asked, and has not answered."""
        request = pb.RateLimitRequest.FromString(message)
        result = await self._checker.check_without_store(from_rate_limit_request(request))
        return bytes(self._told(request, result).SerializeToString())

    def _told(self, request: pb.RateLimitRequest, result: CheckResult) -> pb.RateLimitResponse:
        headers = response_headers(result, shadow_mode=self._shadow_mode) if self._headers else []
        metadata = to_metadata(request, result) if self._metadata else {}
        if result.degraded:
            metadata["degraded"] = True
        return to_rate_limit_response(result, headers, metadata)


class _PlainlyInvalid(InvalidFields):
    """Without the field's name before the sentence."""

    def __str__(self) -> str:
        return self.violations[0].description


def _as_the_reference_says(error: InvalidFields) -> InvalidFields:
    """Programs that know the reference look for its two sentences."""
    known = error.violations[0].description in (NO_DOMAIN, NO_DESCRIPTORS)
    return _PlainlyInvalid(error.violations) if known else error
