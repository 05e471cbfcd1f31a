"""Protobuf to values and back, for LimitOverrideService. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType

from ratelimiter.overrides.requests import ListOverrides, SetOverride
from waypost.api.v1 import limit_override_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2
from waypost.convert import timestamp
from waypost.errors import FieldViolation
from waypost.model import LimitEntry
from waypost.overrides import LimitUnit, Override

UNITS = MappingProxyType(
    {
        LimitUnit.SECOND: pb.LIMIT_UNIT_SECOND,
        LimitUnit.MINUTE: pb.LIMIT_UNIT_MINUTE,
        LimitUnit.HOUR: pb.LIMIT_UNIT_HOUR,
        LimitUnit.DAY: pb.LIMIT_UNIT_DAY,
        LimitUnit.WEEK: pb.LIMIT_UNIT_WEEK,
        LimitUnit.MONTH: pb.LIMIT_UNIT_MONTH,
        LimitUnit.YEAR: pb.LIMIT_UNIT_YEAR,
    }
)

_BY_NUMBER = {number: unit for unit, number in UNITS.items()}


def set_from_proto(request: pb.SetOverrideRequest) -> SetOverride:
    """The request as values; what is no unit and no time is `malformed`, to be said beside whatever else is wrong."""
    malformed: list[FieldViolation] = []
    expires_at: datetime | None = None
    if request.HasField("expires_at"):
        try:
            expires_at = request.expires_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            malformed.append(FieldViolation("expires_at", "is no valid time between the years 1 and 9999"))
    unit = _BY_NUMBER.get(request.unit)
    if unit is None and request.unit != pb.LIMIT_UNIT_UNSPECIFIED:
        names = ", ".join(pb.LimitUnit.Name(number) for number in UNITS.values())
        malformed.append(FieldViolation("unit", f"{request.unit} is no unit: give one of {names}"))
    return SetOverride(
        domain=request.domain,
        entries=tuple(LimitEntry(entry.key, entry.value) for entry in request.entries),
        unlimited=request.unlimited,
        requests_per_unit=request.requests_per_unit,
        unit=unit,
        burst=request.burst,
        reason=request.reason,
        expires_at=expires_at,
        malformed=tuple(malformed),
    )


def list_from_proto(request: pb.ListOverridesRequest) -> ListOverrides:
    """The request as values."""
    return ListOverrides(request.domain, request.page_size, request.page_token)


def override_to_proto(override: Override) -> pb.LimitOverride:
    """The override."""
    numbers = override.numbers
    return pb.LimitOverride(
        override_id=str(override.override_id),
        domain=override.domain,
        entries=[rate_limit_service_pb2.RateLimitEntry(key=e.key, value=e.value) for e in override.entries],
        unlimited=numbers is None,
        requests_per_unit=0 if numbers is None else numbers.requests_per_unit,
        unit=pb.LIMIT_UNIT_UNSPECIFIED if numbers is None else UNITS[numbers.unit],
        burst=0 if numbers is None else numbers.burst or 0,
        reason=override.reason,
        expires_at=None if override.expires_at is None else timestamp(override.expires_at),
        created_at=timestamp(override.created_at),
        created_by=override.created_by,
    )
