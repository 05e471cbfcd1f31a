"""What the limiter is asked: a request's descriptors, and what they may look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ratelimiter.ruletree import MAX_DOMAIN_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES
from waypost.errors import FieldViolation, InvalidFields
from waypost.model import LimitEntry

MAX_DESCRIPTORS = 100
MAX_ENTRIES = 32
MAX_HITS = 2**32 - 1
MAX_BATCH = 1000
MAX_VIOLATIONS = 20
"""So many bad fields are reported at most: a status travels in trailers, whose size is limited."""

NO_DOMAIN = "rate limit domain must not be empty"
NO_DESCRIPTORS = "rate limit descriptor list must not be empty"
"""The sentences of envoyproxy/ratelimit."""


@dataclass(frozen=True, slots=True)
class LimitNumbers:
    """Other numbers for a rule, for one request or by an operator's hand. `limit` None: unlimited."""

    limit: int | None
    window_us: int
    burst: int | None = None
    """Only where the rule is a token bucket, or there is no rule with that window."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One way to describe a request."""

    entries: tuple[LimitEntry, ...]
    hits: int | None = None
    """Its own cost; None: the request's. 0 looks, negative ones are given back."""
    override: LimitNumbers | None = None
    """Decides instead of the rule, for this request only."""


@dataclass(frozen=True, slots=True)
class LimitRequest:
    """One request to decide on."""

    domain: str
    descriptors: tuple[Descriptor, ...]
    hits: int = 1
    owner: str = ""
    """Each owner has counters of their own; empty: the mesh's."""


def validate(request: LimitRequest) -> None:
    """Raises `InvalidFields` with what is wrong."""
    found = list(islice(violations(request), MAX_VIOLATIONS))
    if found:
        raise InvalidFields(found)


def violations(request: LimitRequest, prefix: str = "") -> Iterator[FieldViolation]:
    """What is wrong with a request; `prefix` stands before the names of fields."""
    if not request.domain:
        yield FieldViolation(f"{prefix}domain", NO_DOMAIN)
    elif _size(request.domain) > MAX_DOMAIN_BYTES:
        yield FieldViolation(f"{prefix}domain", f"must be at most {MAX_DOMAIN_BYTES} bytes")
    if not 0 <= request.hits <= MAX_HITS:
        yield FieldViolation(f"{prefix}hits_addend", f"must be from 0 to {MAX_HITS}")
    if not request.descriptors:
        yield FieldViolation(f"{prefix}descriptors", NO_DESCRIPTORS)
    elif len(request.descriptors) > MAX_DESCRIPTORS:
        yield FieldViolation(f"{prefix}descriptors", f"must be at most {MAX_DESCRIPTORS}")
        return
    for index, descriptor in enumerate(request.descriptors):
        place = f"{prefix}descriptors[{index}]"
        if descriptor.hits is not None and not -MAX_HITS <= descriptor.hits <= MAX_HITS:
            yield FieldViolation(f"{place}.hits_addend", f"must be from -{MAX_HITS} to {MAX_HITS}")
        if descriptor.override is not None and descriptor.override.window_us < 1:
            yield FieldViolation(
                f"{place}.limit.unit", "must be a unit of time: SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, YEAR"
            )
        yield from _entry_violations(descriptor.entries, f"{place}.entries")


def _entry_violations(entries: Sequence[LimitEntry], place: str) -> Iterator[FieldViolation]:
    if not entries:
        yield FieldViolation(place, "must not be empty")
    elif len(entries) > MAX_ENTRIES:
        yield FieldViolation(place, f"must be at most {MAX_ENTRIES}")
        return
    for position, entry in enumerate(entries):
        if not entry.key:
            yield FieldViolation(f"{place}[{position}].key", "must not be empty")
        elif _size(entry.key) > MAX_KEY_BYTES:
            yield FieldViolation(f"{place}[{position}].key", f"must be at most {MAX_KEY_BYTES} bytes")
        if _size(entry.value) > MAX_VALUE_BYTES:
            yield FieldViolation(f"{place}[{position}].value", f"must be at most {MAX_VALUE_BYTES} bytes")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
