"""Kutt: the answers of its API (`GET /api/v2/links`), and its table `links` as databases write it to CSV.

Both have address (the code), target, description, visit_count, expire_in, password and banned. The API says only
whether there is a password; the table has its hash.
"""

from __future__ import annotations

from waypost.cli.transfer.formats.format import Fields, Format, flag, present, text
from waypost.cli.transfer.records import Draft


def _draft(fields: Fields) -> Draft:
    return Draft(
        url=text(fields, "target"),
        code=text(fields, "address").strip(),
        title=text(fields, "description"),
        expires=text(fields, "expirein"),
        unfit=_unfit(fields),
    )


def _unfit(fields: Fields) -> str:
    if flag(fields, "banned"):
        return "it is banned"
    if present(fields, "password"):
        return "it asks for a password, which cannot be carried over"
    return ""


FORMAT = Format(
    name="kutt",
    system="Kutt",
    signatures=(frozenset(("address", "target")),),
    columns="address, target",
    draft=_draft,
)
