"""The client's values of rate limits as the contract has them, and back: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from waypost.api.v1 import limit_override_service_pb2 as override_pb
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.client.convert import time_from_proto
from waypost.client.limits_model import (
    Entries,
    ExplainedDescriptor,
    ExplainedLimit,
    LimitAnswer,
    LimitExplanation,
    LimitOverride,
    LimitRule,
    LimitRules,
    LimitStatus,
    LimitUnit,
    RuleLimit,
)
from waypost.errors import InvalidFields

MAX_UINT32 = 2**32 - 1

_UNITS: Mapping[int, LimitUnit] = {
    override_pb.LIMIT_UNIT_SECOND: LimitUnit.SECOND,
    override_pb.LIMIT_UNIT_MINUTE: LimitUnit.MINUTE,
    override_pb.LIMIT_UNIT_HOUR: LimitUnit.HOUR,
    override_pb.LIMIT_UNIT_DAY: LimitUnit.DAY,
    override_pb.LIMIT_UNIT_WEEK: LimitUnit.WEEK,
    override_pb.LIMIT_UNIT_MONTH: LimitUnit.MONTH,
    override_pb.LIMIT_UNIT_YEAR: LimitUnit.YEAR,
}
_NUMBERS = {unit: number for number, unit in _UNITS.items()}


def entries_to_proto(entries: Entries, field: str = "entries") -> list[pb.RateLimitEntry]:
    """A descriptor's entries. Raises `InvalidFields` for what no message can hold, as all of these."""
    pairs = entries.items() if isinstance(entries, Mapping) else entries
    made = []
    for position, (key, value) in enumerate(pairs):
        try:
            made.append(pb.RateLimitEntry(key=key, value=value))
        except (TypeError, ValueError):
            sentence = "must be two texts of valid Unicode, key and value"
            raise InvalidFields.one(f"{field}[{position}]", sentence) from None
    return made


def descriptors_to_proto(descriptors: Iterable[Entries]) -> list[pb.RateLimitDescriptor]:
    """Descriptors."""
    return [
        pb.RateLimitDescriptor(entries=entries_to_proto(entries, f"descriptors[{index}].entries"))
        for index, entries in enumerate(descriptors)
    ]


def number_to_proto(field: str, number: int) -> int:
    """A number that the field can hold."""
    if not 0 <= number <= MAX_UINT32:
        raise InvalidFields.one(field, f"must be from 0 to {MAX_UINT32:,}")
    return number


def unit_to_proto(unit: LimitUnit | str | None) -> override_pb.LimitUnit.ValueType:
    """The unit's number; None: none."""
    if unit is None:
        return override_pb.LIMIT_UNIT_UNSPECIFIED
    if unit not in list(_NUMBERS):
        raise InvalidFields.one("unit", f"must be one of {', '.join(_NUMBERS)}, not {str(unit)!r}")
    return override_pb.LimitUnit.ValueType(_NUMBERS[LimitUnit(unit)])


def answer_from_proto(answer: pb.CheckResponse) -> LimitAnswer:
    """A decision."""
    return LimitAnswer(
        allowed=answer.allowed,
        statuses=tuple(map(_status_from_proto, answer.statuses)),
        retry_after=span_from_proto(answer.retry_after) if answer.HasField("retry_after") else None,
        degraded=answer.degraded,
    )


def explanation_from_proto(answer: pb.ExplainResponse) -> LimitExplanation:
    """An explanation."""
    descriptors = tuple(
        ExplainedDescriptor(one.rule, one.reason, tuple(map(_explained_from_proto, one.limits)), one.overridden)
        for one in answer.descriptors
    )
    return LimitExplanation(answer.allowed, descriptors, answer.generation)


def rules_from_proto(answer: pb.ListRulesResponse) -> LimitRules:
    """The rules in force."""
    return LimitRules(
        rules=tuple(map(_rule_from_proto, answer.rules)),
        generation=answer.generation,
        loaded_at=time_from_proto(answer.loaded_at) if answer.HasField("loaded_at") else None,
        problems=tuple(answer.problems),
        next_page_token=answer.next_page_token,
    )


def override_from_proto(override: override_pb.LimitOverride) -> LimitOverride:
    """An override."""
    return LimitOverride(
        override_id=override.override_id,
        domain=override.domain,
        entries=tuple((entry.key, entry.value) for entry in override.entries),
        requests_per_unit=override.requests_per_unit,
        unit=None if override.unlimited else _UNITS.get(override.unit, LimitUnit.UNKNOWN),
        burst=override.burst,
        reason=override.reason,
        expires_at=time_from_proto(override.expires_at) if override.HasField("expires_at") else None,
        created_at=time_from_proto(override.created_at),
        created_by=override.created_by,
    )


def span_from_proto(span: Duration) -> timedelta:
    """A span, to the microsecond."""
    return span.ToTimedelta()


def _status_from_proto(status: pb.DescriptorStatus) -> LimitStatus:
    return LimitStatus(
        allowed=status.allowed,
        rule=status.rule,
        limit=status.limit,
        window=span_from_proto(status.window) if status.HasField("window") else None,
        remaining=status.remaining,
        reset_after=span_from_proto(status.reset_after) if status.HasField("reset_after") else None,
        over_limit=status.over_limit,
        degraded=status.degraded,
    )


def _explained_from_proto(limit: pb.LimitExplanation) -> ExplainedLimit:
    return ExplainedLimit(
        algorithm=limit.algorithm,
        limit=limit.limit,
        window=span_from_proto(limit.window),
        burst=limit.burst,
        counter=tuple((entry.key, entry.value) for entry in limit.counter),
        consistency=limit.consistency,
        allowed=limit.allowed,
        remaining=limit.remaining,
        reset_after=span_from_proto(limit.reset_after),
    )


def _rule_from_proto(rule: pb.RateLimitRule) -> LimitRule:
    limits = tuple(
        RuleLimit(one.algorithm, one.limit, span_from_proto(one.window), one.burst, one.consistency)
        for one in rule.limits
    )
    return LimitRule(rule.domain, rule.rule, limits, rule.shadow_mode, rule.quota_mode)
