"""Correlation ids: one name for a request from the edge to the last worker."""

from __future__ import annotations

import re
import uuid

_ALLOWED = re.compile(r"[A-Za-z0-9._-]{1,128}")


def correlation_id(*candidates: str | None) -> str:
    """The first candidate that is 1 to 128 of `[A-Za-z0-9._-]`, else a new random id.

    Anything else is not echoed into logs and headers.
    """
    for candidate in candidates:
        if candidate and _ALLOWED.fullmatch(candidate):
            return candidate
    return str(uuid.uuid4())
