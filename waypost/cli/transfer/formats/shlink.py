"""Shlink: the CSV that its web client exports, the CSV that its importer reads, and the answers of its API.

The web client's columns are createdAt, domain, shortCode, shortUrl, longUrl, title, tags (joined by `|`), visits; the
importer's are `Short code` or `Short URL`, `Long URL`, Domain, Title, Tags. The API (`GET /rest/v3/short-urls`) adds
`meta` with validSince, validUntil and maxVisits, and forwardQuery.
"""

from __future__ import annotations

from waypost.cli.transfer.formats.format import Fields, Format, code_of, flag, mapping, text, texts
from waypost.cli.transfer.records import Draft


def _draft(fields: Fields) -> Draft:
    meta = mapping(fields.get("meta"))
    tags = fields.get("tags")
    visits = mapping(fields.get("visitssummary")).get("total")
    return Draft(
        url=text(fields, "longurl"),
        code=text(fields, "shortcode").strip() or code_of(text(fields, "shorturl")),
        title=text(fields, "title"),
        # As Shlink's own importer: a cell with a comma is separated by commas.
        tags=texts(tags, "," if isinstance(tags, str) and "," in tags else "|"),
        expires=text(meta, "validuntil") or text(fields, "validuntil"),
        max_clicks=meta.get("maxvisits") or fields.get("maxvisits"),
        clicks=visits if visits is not None else fields.get("visitscount") or fields.get("visits"),
        forward_query=flag(fields, "forwardquery"),
        starts=text(meta, "validsince") or text(fields, "validsince"),
    )


FORMAT = Format(
    name="shlink",
    system="Shlink",
    signatures=(frozenset(("longurl", "shortcode")), frozenset(("longurl", "shorturl"))),
    columns="shortCode (or shortUrl), longUrl",
    draft=_draft,
)
