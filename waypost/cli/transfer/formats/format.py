"""What a format is, and how its records' values are looked up."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from waypost.cli.transfer.records import Draft

Fields = Mapping[str, Any]
"""A record by normalised names: texts of a CSV file, or whatever JSON has."""

_SEPARATORS = re.compile(r"[\s_.-]+")
_NOTHING = ("null", "\\n")


@dataclass(frozen=True, slots=True)
class Format:
    """A system's way to write links.

    A file is in this format if its records have all names of one of the `signatures`; `columns` says so to people.
    `cell` undoes what the system does to the cells of its CSV.
    """

    name: str
    system: str
    signatures: tuple[frozenset[str], ...]
    columns: str
    draft: Callable[[Fields], Draft]
    cell: Callable[[str], str] = str

    def fits(self, names: Collection[str]) -> bool:
        """Whether records with these normalised names are in this format."""
        present = set(names)
        return any(signature <= present for signature in self.signatures)


def normal_name(name: str) -> str:
    """A column's name without what differs between variants: `Long URL`, `long_url` and `longUrl` are `longurl`."""
    return _SEPARATORS.sub("", name.strip().lower())


def text(fields: Fields, *names: str) -> str:
    """The first of these fields that is not empty, as text."""
    for name in names:
        value = fields.get(name)
        if value is None or isinstance(value, (dict, list, bool)):
            continue
        found = str(value)
        # What databases write for nothing.
        if found.strip() and found.strip().lower() not in _NOTHING:
            return found
    return ""


def flag(fields: Fields, name: str) -> bool:
    """Whether a field says yes."""
    value = fields.get(name)
    return value is True or (value is not None and str(value).strip().lower() in ("true", "t", "1", "yes", "on"))


def present(fields: Fields, name: str) -> bool:
    """Whether a field has something in it that is neither nothing nor no: a password's hash, or `true`."""
    value = fields.get(name)
    return value is True or (
        value not in (None, False)
        and str(value).strip().lower() not in ("", "false", "f", "0", "no", "off", "none", *_NOTHING)
    )


def mapping(value: object) -> Fields:
    """An object within a record, by normalised names; empty if there is none."""
    return {normal_name(str(name)): one for name, one in value.items()} if isinstance(value, dict) else {}


def texts(value: object, separators: str) -> tuple[str, ...]:
    """The texts of a JSON array, or of a cell that has them between `separators`; without those that are empty."""
    parts = value if isinstance(value, list) else re.split(f"[{re.escape(separators)}]", str(value or ""))
    return tuple(part for part in (str(one).strip() for one in parts if one is not None) if part)


def code_of(address: str) -> str:
    """The short code of a short address: `abc` of `https://bit.ly/abc` and of `bit.ly/abc`."""
    address = address.strip()
    try:
        path = urlsplit(address if "://" in address else f"//{address}").path
    except ValueError:
        return address
    return path.strip("/")
