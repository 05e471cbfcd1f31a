"""Correlation ids: one name for a request from the edge to the last worker."""

from __future__ import annotations

import re
from random import Random

# A fifth of what asking the system for each id costs.
_random = Random()  # noqa: S311 - see `random_id`
# Version and variant of RFC 9562, and the bits between them.
_FIXED = 4 << 76 | 2 << 62
_FREE = ~(15 << 76 | 3 << 62)
_ALLOWED = re.compile(r"[A-Za-z0-9._-]{1,128}")


def correlation_id(*candidates: str | None) -> str:
    """The first candidate that is 1 to 128 of `[A-Za-z0-9._-]`, else a new random id.

    Anything else is not echoed into logs and headers.
    """
    for candidate in candidates:
        if candidate and _ALLOWED.fullmatch(candidate):
            return candidate
    return random_id()


def random_id() -> str:
    """A new random id in the form of a UUID of version 4: good for names, not for secrets."""
    digits = f"{_random.getrandbits(128) & _FREE | _FIXED:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
