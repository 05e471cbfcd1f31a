"""Rate limits as the client gives them: decisions, rules and overrides as plain values that know no protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

Entries = Mapping[str, str] | Iterable[tuple[str, str]]
"""A descriptor: keys and values from the outermost inwards, `{"route": "buy", "key": "alice"}`. Their order counts."""


class LimitUnit(StrEnum):
    """A span that limits are counted in; a month has 30 days and a year 365."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"
    UNKNOWN = "unknown"
    """A unit that only a newer version knows."""


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """What became of one descriptor. `rule` empty: none matched; `window` None: there is no limit.

    `over_limit` is also true where the rule refuses nobody (shadow mode); `degraded`: decided without the store that
    counts it.
    """

    allowed: bool
    rule: str
    limit: int
    window: timedelta | None
    remaining: int
    reset_after: timedelta | None
    over_limit: bool
    degraded: bool


@dataclass(frozen=True, slots=True)
class LimitAnswer:
    """A decision, with a status for each descriptor in order. `retry_after`: in a refusal that a wait can mend."""

    allowed: bool
    statuses: tuple[LimitStatus, ...]
    retry_after: timedelta | None
    degraded: bool


@dataclass(frozen=True, slots=True)
class ExplainedLimit:
    """A limit that a descriptor is held to; `counter` are the keys and values that tell its counter from others."""

    algorithm: str
    limit: int
    window: timedelta
    burst: int
    counter: tuple[tuple[str, str], ...]
    consistency: str
    allowed: bool
    remaining: int
    reset_after: timedelta


@dataclass(frozen=True, slots=True)
class ExplainedDescriptor:
    """How a descriptor is decided, and why. Without limits it is not limited."""

    rule: str
    reason: str
    limits: tuple[ExplainedLimit, ...]
    overridden: bool


@dataclass(frozen=True, slots=True)
class LimitExplanation:
    """What a check would answer now, by which version of the rules."""

    allowed: bool
    descriptors: tuple[ExplainedDescriptor, ...]
    generation: int


@dataclass(frozen=True, slots=True)
class RuleLimit:
    """A limit of a rule."""

    algorithm: str
    limit: int
    window: timedelta
    burst: int
    consistency: str


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A rule, by its place in the file. Without limits it is unlimited."""

    domain: str
    rule: str
    limits: tuple[RuleLimit, ...]
    shadow_mode: bool
    quota_mode: bool


@dataclass(frozen=True, slots=True)
class LimitRules:
    """The rules in force, and what is wrong with a newer version of them that could not be loaded.

    Of a page, `next_page_token` is empty on the last one only.
    """

    rules: tuple[LimitRule, ...]
    generation: int
    loaded_at: datetime | None
    problems: tuple[str, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class LimitOverride:
    """Other numbers for a descriptor than its rule gives. `unit` None: it is unlimited; `expires_at` None: for good.

    `burst` 0: a full token bucket holds `requests_per_unit`.
    """

    override_id: str
    domain: str
    entries: tuple[tuple[str, str], ...]
    requests_per_unit: int
    unit: LimitUnit | None
    burst: int
    reason: str
    expires_at: datetime | None
    created_at: datetime
    created_by: str

    @property
    def unlimited(self) -> bool:
        """Whether there is no limit at all."""
        return self.unit is None
