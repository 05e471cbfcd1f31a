"""Filters of lists, put together with the quotes that they need."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


def link_filter(
    *,
    state: str = "",
    tags: Iterable[str] = (),
    text: str = "",
    created_from: datetime | None = None,
    created_before: datetime | None = None,
) -> str:
    """The filter for links of this state that have all these tags and words and were made in this span of time.

    What is left out does not matter. Times need a time zone; raises `ValueError` for those without.
    """
    conditions = [f"state = {quoted(state)}"] if state else []
    conditions += [f"tag = {quoted(tag)}" for tag in tags]
    if text:
        conditions.append(f"text : {quoted(text)}")
    for operator, at in ((">=", created_from), ("<", created_before)):
        if at is not None:
            if at.utcoffset() is None:
                raise ValueError("times must have a time zone, for example datetime.now(UTC)")
            conditions.append(f"created_at {operator} {quoted(at.isoformat())}")
    return " AND ".join(conditions)


def quoted(value: str) -> str:
    """A value as filters take it, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
