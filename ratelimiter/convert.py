"""Between the messages of `waypost.api.v1` and the limiter's own values; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.duration_pb2 import Duration

from native.limits import Algorithm, Decision, Limit
from ratelimiter.asking import Asked
from ratelimiter.outlook import Explained, Outlook
from ratelimiter.requests import MAX_DESCRIPTORS, MAX_ENTRIES, Descriptor, LimitRequest
from ratelimiter.results import CheckResult, DescriptorStatus
from ratelimiter.ruletree import Rule, RuleLimit
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.model import LimitEntry

MAX_DURATION_SECONDS = 315_576_000_000
"""Of a `Duration`, ten thousand years; JSON has none that is longer."""

# Of lists no more is read than shows them too long: an empty item is two bytes in a message, and hundreds here.


def from_check_request(request: pb.CheckRequest, owner: str = "") -> LimitRequest:
    """The request of one who counts apart as `owner`; hits of 0 are an absent field, and mean 1."""
    return LimitRequest(request.domain, _from_descriptors(request.descriptors), request.hits_addend or 1, owner)


def from_explain_request(request: pb.ExplainRequest, owner: str = "") -> LimitRequest:
    """The request to explain."""
    return LimitRequest(request.domain, _from_descriptors(request.descriptors), request.hits_addend or 1, owner)


def from_reset_request(request: pb.ResetRequest) -> LimitRequest:
    """The request whose counters to forget."""
    return LimitRequest(request.domain, _from_descriptors(request.descriptors), 1, request.workspace_id)


def _from_descriptors(descriptors: Sequence[pb.RateLimitDescriptor]) -> tuple[Descriptor, ...]:
    return tuple(
        Descriptor(
            tuple(LimitEntry(entry.key, entry.value) for entry in descriptor.entries[: MAX_ENTRIES + 1]),
            descriptor.hits_addend if descriptor.HasField("hits_addend") else None,
        )
        for descriptor in descriptors[: MAX_DESCRIPTORS + 1]
    )


def to_check_response(result: CheckResult) -> pb.CheckResponse:
    """The answer to a check."""
    return pb.CheckResponse(
        allowed=result.allowed,
        statuses=[_to_descriptor_status(status) for status in result.statuses],
        retry_after=None if result.retry_after_us is None else to_duration(result.retry_after_us),
        degraded=result.degraded,
    )


def to_explain_response(outlook: Outlook, explained: Sequence[Explained]) -> pb.ExplainResponse:
    """What a check would answer; `explained` has one item for each descriptor."""
    return pb.ExplainResponse(
        allowed=outlook.allowed,
        descriptors=[
            pb.DescriptorExplanation(
                rule=one.rule,
                reason=one.reason,
                limits=[_to_limit_explanation(asked, decision, one.counter) for asked, decision in one.limits],
                overridden=one.overridden,
            )
            for one in explained
        ],
        generation=outlook.generation,
    )


def to_rule(domain: str, rule: Rule) -> pb.RateLimitRule:
    """A rule and its domain."""
    return pb.RateLimitRule(
        domain=domain,
        rule=rule.place,
        limits=[_to_rate_limit(limit) for limit in rule.limits],
        shadow_mode=rule.shadow_mode,
        quota_mode=rule.quota_mode,
    )


def to_duration(span_us: int) -> Duration:
    """A span of microseconds as a message, at most the longest that one can tell."""
    seconds, rest_us = divmod(min(span_us, MAX_DURATION_SECONDS * 1_000_000), 1_000_000)
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
        over_limit=status.over_limit,
        degraded=status.degraded,
    )


def _to_limit_explanation(asked: Asked, decision: Decision, counter: Iterable[tuple[str, str]]) -> pb.LimitExplanation:
    limit = asked.limit.limit
    return pb.LimitExplanation(
        algorithm=limit.algorithm.value,
        limit=limit.limit,
        window=to_duration(limit.window_us),
        burst=_burst(limit),
        counter=[pb.RateLimitEntry(key=key, value=value) for key, value in counter],
        consistency=asked.limit.consistency.value,
        allowed=decision.allowed,
        remaining=decision.remaining,
        reset_after=to_duration(decision.reset_after_us),
    )


def _to_rate_limit(limit: RuleLimit) -> pb.RateLimit:
    return pb.RateLimit(
        algorithm=limit.limit.algorithm.value,
        limit=limit.limit.limit,
        window=to_duration(limit.limit.window_us),
        burst=_burst(limit.limit),
        consistency=limit.consistency.value,
    )


def _burst(limit: Limit) -> int:
    return limit.capacity if limit.algorithm is Algorithm.TOKEN_BUCKET else limit.limit
