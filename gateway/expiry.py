"""When things that callers make shall end. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from waypost.errors import InvalidFields

MAX_TTL_SECONDS = 315_360_000
LAST_EXPIRY_YEAR = 9998


def expiry_of(now: datetime, expires_at: datetime | None, ttl_seconds: int | None, kind: str) -> datetime | None:
    """The first instant at which a `kind` (a link, a key) is over; None: never. At most one of the two is given.

    Raises `InvalidFields` for the one that is.
    """
    if ttl_seconds is not None:
        if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
            raise InvalidFields.one("ttl_seconds", f"must be 1 to {MAX_TTL_SECONDS} (ten years)")
        return now + timedelta(seconds=ttl_seconds)
    if expires_at is not None:
        if expires_at <= now:
            raise InvalidFields.one("expires_at", f"must be in the future (it is {now:%Y-%m-%dT%H:%M:%SZ} now)")
        if expires_at.year > LAST_EXPIRY_YEAR:
            raise InvalidFields.one(
                "expires_at", f"must be before the year 9999; leave it out for a {kind} without end"
            )
    return expires_at
