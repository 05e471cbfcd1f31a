"""Links as commands print them: as JSON like the API's, and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from waypost.cli.output import printable
from waypost.client import DestinationFlag, Link, LinkState, Resolution


def link_object(link: Link) -> dict[str, Any]:
    """The link as the API has it in JSON."""
    return {
        "short_code": link.short_code,
        "short_url": link.short_url,
        "original_url": link.original_url,
        "state": _state(link.state),
        "created_at": timestamp(link.created_at),
        "updated_at": timestamp(link.updated_at),
        **({} if link.expires_at is None else {"expires_at": timestamp(link.expires_at)}),
        "redirect_status": link.redirect_status,
        "etag": link.etag,
        "destination_flags": [_flag(flag) for flag in link.destination_flags],
        "title": link.title,
        "tags": list(link.tags),
        "max_clicks": link.max_clicks,
        "clicks_used": link.clicks_used,
        "forward_query": link.forward_query,
    }


def link_card(link: Link) -> str:
    """The link, one field a line, without those that say nothing."""
    return card(
        {
            **link_object(link),
            "state": link.state.value,
            "destination_flags": ", ".join(link.destination_flags),
            "tags": ", ".join(link.tags),
            "max_clicks": link.max_clicks or "",
            "clicks_used": link.clicks_used if link.max_clicks else "",
            "forward_query": "yes" if link.forward_query else "",
        }
    )


def resolution_object(answer: Resolution) -> dict[str, Any]:
    """The answer as protobuf's JSON has it."""
    seconds = {} if answer.valid_for is None else {"valid_for": f"{answer.valid_for.total_seconds():g}s"}
    return {
        "short_code": answer.short_code,
        "http_status": answer.http_status,
        "location": answer.location,
        "state": "LINK_STATE_UNSPECIFIED" if answer.state is None else _state(answer.state),
        **seconds,
    }


def resolution_card(answer: Resolution) -> str:
    """The answer, one field a line."""
    location = answer.location
    if not location and 300 <= answer.http_status < 400:
        location = "(destination told only for a click: the link has max_clicks)"
    state = "no such link" if answer.state is None else answer.state.value
    return card({**resolution_object(answer), "location": location, "state": state})


def timestamp(at: datetime) -> str:
    """As protobuf's JSON has it: `2030-01-31T12:00:00.250Z`, with 0, 3 or 6 digits after the point."""
    at = at.astimezone(UTC)
    digits = f".{at.microsecond:06}".removesuffix("000") if at.microsecond else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{digits}Z"


def card(rows: Mapping[str, object]) -> str:
    """One field a line, without those that are empty; safe for a terminal."""
    shown = {name: printable(str(value)) for name, value in rows.items() if value != ""}
    width = max(map(len, shown))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown.items())


def _state(state: LinkState) -> str:
    return "LINK_STATE_UNSPECIFIED" if state is LinkState.UNKNOWN else f"LINK_STATE_{state.upper()}"


def _flag(flag: DestinationFlag) -> str:
    return "DESTINATION_FLAG_UNSPECIFIED" if flag is DestinationFlag.UNKNOWN else f"DESTINATION_FLAG_{flag.upper()}"
