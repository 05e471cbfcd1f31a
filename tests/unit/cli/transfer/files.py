"""Files of links for tests, and what is read of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from waypost.cli.transfer.formats import FORMATS
from waypost.cli.transfer.reading import inspect
from waypost.cli.transfer.records import Candidate, Problem, Rules

SAMPLES = Path(__file__).parent / "samples"
NOW = datetime(2026, 6, 1, tzinfo=UTC)

Read = list[Candidate | Problem]


def read(path: Path, *, form: str | None = None, encoding: str | None = None, rules: Rules | None = None) -> Read:
    """What becomes of each record of the file."""
    source = inspect(path, form=FORMATS[form] if form else None, encoding=encoding)
    with source.records() as records:
        return [(rules or Rules(NOW)).check(entry) for entry in records]


def read_bytes(folder: Path, content: bytes, **options: str) -> Read:
    """The same for what a file has."""
    path = folder / "links"
    path.write_bytes(content)
    return read(path, form=options.get("form"), encoding=options.get("encoding"))


def candidates(found: Read) -> list[Candidate]:
    """Those that can be sent; there must be no others."""
    assert not [one for one in found if isinstance(one, Problem)]
    return [one for one in found if isinstance(one, Candidate)]


def told(found: Read) -> list[tuple[str, str, str]]:
    """Place, kind and reason of those that cannot be sent."""
    return [(str(one.place), one.kind, one.reason) for one in found if isinstance(one, Problem)]
