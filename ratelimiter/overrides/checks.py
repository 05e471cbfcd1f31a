"""What may be stored of an override that was asked for. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from ratelimiter.overrides.requests import SetOverride
from ratelimiter.requests import MAX_VIOLATIONS, Descriptor, LimitRequest, validate
from waypost.errors import FieldViolation, InvalidFields
from waypost.overrides import NewOverride, OverrideNumbers

MAX_REASON_CHARS = 500
LAST_EXPIRY_YEAR = 9998

_UNFIT = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal obeys, or that are drawn as nothing."""
_JOINERS = "\u200c\u200d"
"""Of these the ones that scripts and emoji need."""


def checked(request: SetOverride, now: datetime, created_by: str) -> NewOverride:
    """The override to store at `now`. Raises `InvalidFields` with every field that is wrong."""
    reason = request.reason.strip()
    violations = list(islice(_violations(request, reason, now), MAX_VIOLATIONS))
    if violations:
        raise InvalidFields(violations)
    numbers = None
    if request.unit is not None:
        numbers = OverrideNumbers(request.requests_per_unit, request.unit, request.burst or None)
    return NewOverride(request.domain, request.entries, numbers, reason, request.expires_at, created_by)


def _violations(request: SetOverride, reason: str, now: datetime) -> Iterator[FieldViolation]:
    yield from _of_descriptor(request)
    yield from request.malformed
    malformed = {violation.field for violation in request.malformed}
    if request.unlimited:
        given = {"requests_per_unit": request.requests_per_unit, "unit": request.unit, "burst": request.burst}
        for field, value in given.items():
            if value and field not in malformed:
                yield FieldViolation(field, "must be absent in an override without a limit (`unlimited`)")
    elif request.unit is None and "unit" not in malformed:
        yield FieldViolation("unit", "is missing: give the span that `requests_per_unit` is for, or `unlimited`")
    if len(reason) > MAX_REASON_CHARS:
        yield FieldViolation("reason", f"has {len(reason):,} characters: shorten it to {MAX_REASON_CHARS}")
    for position, char in enumerate(reason, 1):
        if unicodedata.category(char) in _UNFIT and char not in _JOINERS:
            yield FieldViolation("reason", f"has the character U+{ord(char):04X} at position {position}: remove it")
            break
    if request.expires_at is not None:
        if request.expires_at <= now:
            yield FieldViolation("expires_at", f"must be in the future (it is {now:%Y-%m-%dT%H:%M:%SZ} now)")
        elif request.expires_at.year > LAST_EXPIRY_YEAR:
            yield FieldViolation("expires_at", "must be before the year 9999; leave it out for one without end")


def _of_descriptor(request: SetOverride) -> Iterator[FieldViolation]:
    """What no request brings, or the database cannot hold."""
    try:
        validate(LimitRequest(request.domain, (Descriptor(request.entries),)))
    except InvalidFields as error:
        for violation in error.violations:
            yield FieldViolation(violation.field.removeprefix("descriptors[0]."), violation.description)
    sentence = "has the character U+0000, for which nothing can be set"
    if "\0" in request.domain:
        yield FieldViolation("domain", sentence)
    for position, entry in enumerate(request.entries):
        for field, text in (("key", entry.key), ("value", entry.value)):
            if "\0" in text:
                yield FieldViolation(f"entries[{position}].{field}", sentence)
