"""Times as people say them: "3 days ago", "in 2 hours", "1 June 2026, 12:00 UTC"."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

# Each with its length and the shortest time that is told in it, in seconds.
_UNITS = (
    ("year", 365 * _DAY, 2 * 365 * _DAY),
    ("month", 30 * _DAY, 60 * _DAY),
    ("day", _DAY, 2 * _DAY),
    ("hour", _HOUR, 2 * _HOUR),
    ("minute", _MINUTE, _MINUTE),
)


def relative(at: datetime, now: datetime) -> str:
    """How long before or after `now` it is, in its largest unit, rounded down; within a minute "just now"."""
    seconds = (at - now).total_seconds()
    for unit, length, least in _UNITS:
        if abs(seconds) >= least:
            count = int(abs(seconds) // length)
            text = f"{count:,} {unit}{'s' if count != 1 else ''}"
            return f"in {text}" if seconds > 0 else f"{text} ago"
    return "in less than a minute" if seconds > 0 else "just now"


def absolute(at: datetime) -> str:
    """Date and time in UTC, whatever the language of the machine."""
    at = at.astimezone(UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M} UTC"
