"""What operators ask of LimitOverrideService, as plain values: as it came, not yet checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from waypost.access.identity import Identity
from waypost.errors import FieldViolation
from waypost.model import LimitEntry
from waypost.overrides import LimitUnit


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a use case runs, and the call's correlation id."""

    identity: Identity
    correlation_id: str


@dataclass(frozen=True, slots=True)
class SetOverride:
    """An override to set; 0, "" and None: absent. `malformed` lists fields that no value could be made of."""

    domain: str
    entries: tuple[LimitEntry, ...]
    unlimited: bool = False
    requests_per_unit: int = 0
    unit: LimitUnit | None = None
    burst: int = 0
    reason: str = ""
    expires_at: datetime | None = None
    malformed: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True)
class ListOverrides:
    """Which page of which overrides; 0 and "": absent."""

    domain: str
    size: int
    page_token: str
