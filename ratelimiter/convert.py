"""Between the messages of `waypost.api.v1` and the limiter's own values; pure."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from ratelimiter.handlers import CheckResult, DescriptorStatus
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.model import LimitEntry


def from_check_request(request: pb.CheckRequest) -> tuple[str, list[list[LimitEntry]], int]:
    """Domain, descriptors and hits of a request; hits of 0 are an absent field, and mean 1."""
    descriptors = [[LimitEntry(entry.key, entry.value) for entry in d.entries] for d in request.descriptors]
    return request.domain, descriptors, request.hits_addend or 1


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
    limited = status.window_us > 0
    return pb.DescriptorStatus(
        allowed=status.allowed,
        rule=status.rule,
        limit=status.limit,
        window=to_duration(status.window_us) if limited else None,
        remaining=status.remaining,
        reset_after=to_duration(status.reset_after_us) if limited else None,
    )
