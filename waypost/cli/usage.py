"""What options may be, beyond what each of them says for itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class WrongUsage(Exception):
    """Options that make no sense, or not together; `str()` says so in one line."""


def instant(name: str, text: str) -> datetime:
    """The instant that an option gives. Raises `WrongUsage`."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        raise WrongUsage(f"{name} must be a time like 2030-01-31T12:00:00Z, not {text!r}")
    return at


def expiry(ttl: int | None, expires_at: str | None) -> datetime | None:
    """The instant that `--expires-at` names. Raises `WrongUsage` if it is none, or not alone."""
    one_of({"--ttl": ttl is not None, "--expires-at": expires_at is not None})
    return None if expires_at is None else instant("--expires-at", expires_at)


def one_of(given: Mapping[str, bool]) -> None:
    """Raises `WrongUsage` if more than one of them is given."""
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise WrongUsage(f"{' and '.join(names)} exclude each other: give one")
