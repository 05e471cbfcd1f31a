"""How long a link lives, as people write it."""

from __future__ import annotations

import click
import pytest

from waypost.cli.ttl import Ttl


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("007d", 604_800)),
        ("3650d", 315_360_000),
        # Too long for the API, and said so there: what fits into the field passes.
        ("9999999999d", 2**31 - 1),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert Ttl().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1.5h", "1w", "1 h", "h", "1h30m", "٣", "1H", "soon"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="7d"):
        Ttl().convert(text, None, None)
