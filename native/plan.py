"""What the compiled handlers are told of rules, and what they tell of calls: plain values for both sides."""

from __future__ import annotations

from typing import NamedTuple

from native.limits import Limit
from native.request import Mode


class PlannedLimit(NamedTuple):
    """One limit of a rule."""

    identity: tuple[str, ...]
    """What its counters go by, as `native.request.Question.rule`."""
    limit: Limit
    mode: Mode
    unit: int
    """Of Envoy's enum, by the window."""
    key: bytes = b""
    """Where a store counts: how the keys of its counters begin, which the request's texts follow."""
    room: int = 0
    """Bytes of such texts, with their lengths, that a key has room for."""


class PlannedRule(NamedTuple):
    """A rule, made ready for answers that tell of it."""

    place: str
    name: str
    """Its own, or empty."""
    quoted: str
    """Name or place as headers have it."""
    shadow_mode: bool
    quota_mode: bool
    limits: tuple[PlannedLimit, ...]
    """None: it is unlimited."""
    strict: bool = False
    """A store counts: threads leave it to who can ask that (`native._strict`)."""


class Event(NamedTuple):
    """A call that a compiled handler answered, and left word of."""

    method: int
    """Which of the handlers."""
    serial: int
    """Of the plan by which it was decided."""
    refused: int
    """A bit for each descriptor that refused, from the lowest; 0 where the request was allowed."""
    logged: bool
    """Whether it is one of those that the log shows."""
    seconds: float
    message: bytes
    response_bytes: int
    peer: str
    correlation_id: str
