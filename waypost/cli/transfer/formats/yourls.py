"""YOURLS: its table `yourls_url`, the answers of its API, and the CSV of the Import Export plugin.

The table, as phpMyAdmin and `mysql` write it to CSV, TSV or JSON and as list plugins answer, has keyword, url, title,
timestamp, ip, clicks. The API (`action=stats`) has shorturl in place of keyword. The plugin writes source
(`/keyword/`), target, hits.
"""

from __future__ import annotations

from waypost.cli.transfer.formats.format import Fields, Format, code_of, text
from waypost.cli.transfer.records import Draft


def _draft(fields: Fields) -> Draft:
    return Draft(
        url=text(fields, "url", "target"),
        code=text(fields, "keyword").strip() or code_of(text(fields, "shorturl")) or text(fields, "source").strip(" /"),
        title=text(fields, "title"),
    )


FORMAT = Format(
    name="yourls",
    system="YOURLS",
    signatures=(frozenset(("keyword", "url")), frozenset(("shorturl", "url")), frozenset(("source", "target", "hits"))),
    columns="keyword (or shorturl), url; or source, target, hits",
    draft=_draft,
)
