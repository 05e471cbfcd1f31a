"""Between the messages of Envoy's rate limit service, version 3, and the limiter's own values; pure.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3 import rls_pb2 as pb
from google.protobuf.text_format import MessageToString
from google.protobuf.unknown_fields import UnknownFieldSet

from ratelimiter.convert import to_duration
from ratelimiter.requests import MAX_DESCRIPTORS, MAX_ENTRIES, Descriptor, LimitNumbers, LimitRequest
from ratelimiter.results import UNLIMITED, CheckResult, DescriptorStatus
from ratelimiter.rulelimits import UNITS
from waypost.model import LimitEntry

_UNIT = pb.RateLimitResponse.RateLimit.Unit
_UNIT_OF = MappingProxyType({seconds * 1_000_000: _UNIT.Value(name.upper()) for name, seconds in UNITS.items()})
"""By microseconds. Windows of other lengths are UNKNOWN."""
_WINDOW_OF = MappingProxyType({unit: window_us for window_us, unit in _UNIT_OF.items()})
"""In overrides the numbers mean the same; WEEK is not in their enum yet."""

_IS_NEGATIVE_HITS = 4
"""The field `is_negative_hits` of a descriptor, which our stubs may be too old to know by name."""
_IS_NEGATIVE_HITS_FIELD = RateLimitDescriptor.DESCRIPTOR.fields_by_number.get(_IS_NEGATIVE_HITS)

_OK, _OVER_LIMIT = pb.RateLimitResponse.OK, pb.RateLimitResponse.OVER_LIMIT


def from_rate_limit_request(request: pb.RateLimitRequest) -> LimitRequest:
    """The request; hits of 0 are an absent field, and mean 1. Of lists no more is read than shows them too long."""
    hits = request.hits_addend or 1
    descriptors = tuple(_from_descriptor(d, hits) for d in request.descriptors[: MAX_DESCRIPTORS + 1])
    return LimitRequest(request.domain, descriptors, hits)


def _from_descriptor(message: Any, request_hits: int) -> Descriptor:
    entries = tuple(LimitEntry(entry.key, entry.value) for entry in message.entries[: MAX_ENTRIES + 1])
    own_hits = message.hits_addend.value if message.HasField("hits_addend") else None
    if _is_negative(message):
        own_hits = -(request_hits if own_hits is None else own_hits)
    override = None
    if message.HasField("limit"):
        override = LimitNumbers(message.limit.requests_per_unit, _WINDOW_OF.get(message.limit.unit, 0))
    return Descriptor(entries, own_hits, override)


def _is_negative(message: Any) -> bool:
    if _IS_NEGATIVE_HITS_FIELD is not None:
        return bool(getattr(message, _IS_NEGATIVE_HITS_FIELD.name))
    negative = False
    # As for any field that comes twice, the last one counts.
    for field in UnknownFieldSet(message):  # type: ignore[attr-defined]  # a sequence at run time
        if field.field_number == _IS_NEGATIVE_HITS and field.wire_type == 0:
            negative = bool(field.data)
    return negative


def to_rate_limit_response(
    result: CheckResult, headers: list[tuple[str, str]], metadata: Mapping[str, object] | None = None
) -> pb.RateLimitResponse:
    """The answer. It assigns no quotas (`quota`): those would be spent where nobody counts them."""
    response = pb.RateLimitResponse(
        overall_code=_OK if result.allowed else _OVER_LIMIT,
        statuses=[_to_status(status) for status in result.statuses],
        response_headers_to_add=[HeaderValue(key=key, value=value) for key, value in headers],
    )
    if metadata:
        response.dynamic_metadata.update(metadata)
    return response


def _to_status(status: DescriptorStatus) -> pb.RateLimitResponse.DescriptorStatus:
    if status.limit is None or status.match is None:
        return pb.RateLimitResponse.DescriptorStatus(code=_OK, limit_remaining=min(UNLIMITED, status.remaining))
    rule, limit = status.match.rule, status.limit.limit
    # As in the reference: where nothing refuses by a setting of the process, statuses still say what would.
    over_limit = status.over_limit and not rule.shadow_mode
    return pb.RateLimitResponse.DescriptorStatus(
        code=_OVER_LIMIT if over_limit else _OK,
        current_limit=pb.RateLimitResponse.RateLimit(
            name=rule.name, requests_per_unit=limit.limit, unit=unit_of(limit.window_us)
        ),
        limit_remaining=min(UNLIMITED, status.remaining),
        duration_until_reset=to_duration(status.reset_after_us),
    )


def unit_of(window_us: int) -> int:
    """The number of the window's unit; of windows that are no unit of Envoy's, UNKNOWN."""
    return int(_UNIT_OF.get(window_us, _UNIT.Value("UNKNOWN")))


def to_metadata(request: pb.RateLimitRequest, result: CheckResult) -> dict[str, object]:
    """Dynamic metadata as the reference sets it: what was asked, and the metadata of the rules that were passed."""
    metadata: dict[str, object] = {
        "domain": request.domain,
        "descriptors": [_described(descriptor) for descriptor in request.descriptors],
    }
    if request.hits_addend:
        metadata["hitsAddend"] = request.hits_addend
    passed: dict[str, Any] = {}
    for status in result.statuses:
        if status.allowed and status.match is not None and status.match.rule.limits and status.match.rule.metadata:
            _merge(passed, status.match.rule.metadata)
    if passed:
        metadata["metadata"] = passed
    return metadata


def _described(descriptor: Any) -> dict[str, object]:
    described: dict[str, object] = {"entries": [f"{entry.key}={entry.value}" for entry in descriptor.entries]}
    if descriptor.HasField("limit"):
        described["limit"] = MessageToString(descriptor.limit, as_one_line=True)
    if descriptor.HasField("hits_addend"):
        described["hitsAddend"] = descriptor.hits_addend.value
    return described


def _merge(into: dict[str, Any], metadata: Mapping[str, Any]) -> None:
    """Adds what is not there; mappings are joined."""
    for key, value in metadata.items():
        if key not in into:
            into[key] = {} if isinstance(value, Mapping) else value
        if isinstance(value, Mapping) and isinstance(into[key], dict):
            _merge(into[key], value)
