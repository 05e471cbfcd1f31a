"""Waypost's own export, CSV or JSON lines, and the answers of its HTTP interface: written here and read back.

A spreadsheet takes a cell that begins with one of = + - @, a tab or a carriage return for a formula. Such cells get a
single quote in front, and so do those that have it already, so that reading takes away exactly what writing has added.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from waypost.cli.transfer.formats.format import Fields, Format, flag, text, texts
from waypost.cli.transfer.records import Draft
from waypost.client import Link

COLUMNS = (
    "short_code",
    "short_url",
    "original_url",
    "title",
    "tags",
    "state",
    "created_at",
    "updated_at",
    "expires_at",
    "max_clicks",
    "clicks_used",
    "redirect_status",
    "forward_query",
)
"""Of our CSV, in this order; the same names are those of the fields in JSON."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard(cell: str) -> str:
    """The cell as our CSV has it: never a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguard(cell: str) -> str:
    """The cell as it was before `guard`."""
    return cell[1:] if _GUARDED.match(cell) else cell


def record(link: Link) -> dict[str, Any]:
    """The link as a JSON object."""
    return {
        "short_code": link.short_code,
        "short_url": link.short_url,
        "original_url": link.original_url,
        "title": link.title,
        "tags": list(link.tags),
        "state": link.state.value,
        "created_at": _time(link.created_at),
        "updated_at": _time(link.updated_at),
        "expires_at": None if link.expires_at is None else _time(link.expires_at),
        "max_clicks": link.max_clicks,
        "clicks_used": link.clicks_used,
        "redirect_status": link.redirect_status,
        "forward_query": link.forward_query,
    }


def row(link: Link) -> list[str]:
    """The link as the cells of a CSV row."""
    return [guard(_cell(value)) for value in record(link).values()]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            # No tag has a comma.
            return ",".join(value)
        case _:
            return str(value)


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _draft(fields: Fields) -> Draft:
    return Draft(
        url=_exact(fields, "originalurl"),
        code=_exact(fields, "shortcode"),
        title=_exact(fields, "title"),
        tags=texts(fields.get("tags"), ","),
        expires=text(fields, "expiresat"),
        max_clicks=fields.get("maxclicks"),
        clicks=fields.get("clicksused"),
        redirect_status=fields.get("redirectstatus"),
        forward_query=flag(fields, "forwardquery"),
        unfit=_unfit(text(fields, "state").lower().removeprefix("link_state_")),
        exact=True,
    )


def _exact(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _unfit(state: str) -> str:
    match state:
        case "deleted" | "blocked":
            return f"it is {state}"
        case "expired":
            return "it has expired"
        case "exhausted":
            return "its clicks are used up"
        case _:
            return ""


FORMAT = Format(
    name="waypost",
    system="Waypost",
    signatures=(frozenset(("shortcode", "originalurl")),),
    columns="short_code, original_url",
    draft=_draft,
    cell=unguard,
)
