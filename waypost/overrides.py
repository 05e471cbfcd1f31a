"""Overrides of rate limits as values: other numbers for single descriptors than the rules give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from waypost.model import LimitEntry

MAX_OVERRIDES = 10_000
"""Most overrides that are in force at a time; every replica has them all in memory."""

_LENGTH_BYTES = 4


class LimitUnit(StrEnum):
    """A span that limits are counted in; see `waypost.api.v1.LimitUnit`."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def seconds(self) -> int:
        """How long it is; a month has 30 days and a year 365."""
        return _SECONDS[self]


_DAY = 86_400
_SECONDS = MappingProxyType(
    {
        LimitUnit.SECOND: 1,
        LimitUnit.MINUTE: 60,
        LimitUnit.HOUR: 3600,
        LimitUnit.DAY: _DAY,
        LimitUnit.WEEK: 7 * _DAY,
        LimitUnit.MONTH: 30 * _DAY,
        LimitUnit.YEAR: 365 * _DAY,
    }
)


@dataclass(frozen=True, slots=True)
class OverrideNumbers:
    """How many hits in which span; a token bucket that is full holds `burst` (None: as many as the limit)."""

    requests_per_unit: int
    unit: LimitUnit
    burst: int | None = None


@dataclass(frozen=True, slots=True)
class NewOverride:
    """An override to set. `numbers` None: unlimited; `expires_at` None: never."""

    domain: str
    entries: tuple[LimitEntry, ...]
    numbers: OverrideNumbers | None
    reason: str
    expires_at: datetime | None
    created_by: str


@dataclass(frozen=True, slots=True)
class Override:
    """An override as it is stored; `created_at`: when it was set, or replaced last."""

    override_id: UUID
    domain: str
    entries: tuple[LimitEntry, ...]
    numbers: OverrideNumbers | None
    reason: str
    expires_at: datetime | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class LiveOverride:
    """What a decision needs of an override."""

    domain: str
    numbers: OverrideNumbers | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class OverridePlace:
    """A place in the list, which runs from the latest to the earliest."""

    created_at: datetime
    override_id: UUID


@dataclass(frozen=True, slots=True)
class OverridePage:
    """A page, the latest first; `next`: where the next one begins, None after the last."""

    overrides: tuple[Override, ...]
    next: OverridePlace | None


def digest_of(domain: str, entries: Sequence[LimitEntry]) -> bytes:
    """32 bytes that stand for this descriptor and no other; stored, so they stay the same from release to release."""
    texts = [domain]
    for entry in entries:
        texts += (entry.key, entry.value)
    digest = hashlib.blake2b(digest_size=32, person=b"waypost override")
    for text in texts:
        # Lengths, too: nothing of one text passes for another's.
        raw = text.encode()
        digest.update(len(raw).to_bytes(_LENGTH_BYTES, "big") + raw)
    return digest.digest()
