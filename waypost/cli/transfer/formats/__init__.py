"""The systems whose files can be read: one module each, with what its records look like and what they mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from waypost.cli.transfer.formats import bitly, kutt, shlink, waypost, yourls
from waypost.cli.transfer.formats.format import Format, normal_name

__all__ = ["FORMATS", "Format", "normal_name", "recognise"]

FORMATS: Mapping[str, Format] = {
    one.name: one for one in (waypost.FORMAT, bitly.FORMAT, shlink.FORMAT, kutt.FORMAT, yourls.FORMAT)
}
"""By name, as `--format` takes them."""


def recognise(names: Collection[str], forced: Format | None = None) -> Format | None:
    """The format whose records have these (normalised) names of columns or fields; None: none of ours.

    With `forced`, that one or none.
    """
    candidates = FORMATS.values() if forced is None else (forced,)
    return next((one for one in candidates if one.fits(names)), None)
