"""Bitly: the CSV that its Links page exports, and the answers of its API (`GET /v4/groups/{guid}/bitlinks`).

The CSV has the columns Link, Custom Link, Date created, Title, Destination URL, Engagements, Status, and with some
plans Tags. The API has link, id (the link without its scheme), custom_bitlinks, long_url, title, tags, archived,
created_at.
"""

from __future__ import annotations

from waypost.cli.transfer.formats.format import Fields, Format, code_of, flag, text, texts
from waypost.cli.transfer.records import Draft

_OUT_OF_USE = ("archived", "hidden", "inactive", "disabled", "deleted", "expired", "blocked")


def _draft(fields: Fields) -> Draft:
    # The address that people were given is the custom one, where there is one.
    custom = texts(fields.get("custombitlinks") or text(fields, "customlink"), ",;| \n")
    return Draft(
        url=text(fields, "longurl", "destinationurl"),
        code=code_of(custom[0] if custom else text(fields, "link", "bitlink", "shortlink", "id"))
        or text(fields, "backhalf", "custombackhalf"),
        title=text(fields, "title"),
        tags=texts(fields.get("tags"), ",;|"),
        expires=text(fields, "expirationat", "expiresat", "expirationdate"),
        unfit=_unfit(fields),
    )


def _unfit(fields: Fields) -> str:
    if flag(fields, "archived") or flag(fields, "isarchived"):
        return "it is archived"
    status = text(fields, "status").strip().lower()
    return f"it is {status}" if status in _OUT_OF_USE else ""


FORMAT = Format(
    name="bitly",
    system="Bitly",
    signatures=tuple(
        frozenset((short, long))
        for short in ("link", "bitlink", "shortlink", "backhalf", "id")
        for long in ("destinationurl", "longurl")
    ),
    columns="Link (or id), Destination URL (or long_url)",
    draft=_draft,
)
