"""Between the messages of `waypost.api.v1` and the limiter's own values; pure."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from ratelimiter.requests import Descriptor, LimitRequest
from ratelimiter.results import CheckResult, DescriptorStatus
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.model import LimitEntry


def from_check_request(request: pb.CheckRequest, owner: str = "") -> LimitRequest:
    """The request of one who counts apart as `owner`; hits of 0 are an absent field, and mean 1."""
    descriptors = tuple(
        Descriptor(tuple(LimitEntry(entry.key, entry.value) for entry in d.entries)) for d in request.descriptors
    )
    return LimitRequest(request.domain, descriptors, request.hits_addend or 1, owner)


def to_check_response(result: CheckResult) -> pb.CheckResponse:
    """The answer to a check."""
    return pb.CheckResponse(
        allowed=result.allowed,
        statuses=[_to_descriptor_status(status) for status in result.statuses],
        retry_after=None if result.retry_after_us is None else to_duration(result.retry_after_us),
    )


def to_duration(span_us: int) -> Duration:
    """A span of microseconds as a message."""
    seconds, rest_us = divmod(span_us, 1_000_000)
    return Duration(seconds=seconds, nanos=rest_us * 1000)


def _to_descriptor_status(status: DescriptorStatus) -> pb.DescriptorStatus:
    # Without a limit there is no window that could end.
    limit = None if status.limit is None else status.limit.limit
    return pb.DescriptorStatus(
        allowed=status.allowed,
        rule=status.rule,
        limit=0 if limit is None else limit.limit,
        window=None if limit is None else to_duration(limit.window_us),
        remaining=status.remaining,
        reset_after=None if limit is None else to_duration(status.reset_after_us),
    )
