"""Writes links to a file, one at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterable
from typing import Literal, TextIO

from waypost.cli.transfer.formats import waypost
from waypost.client import Link

Shape = Literal["csv", "json"]
"""CSV, or one JSON object a line."""


async def write_links(links: AsyncIterable[Link], file: TextIO, shape: Shape) -> int:
    """Writes all of the links and returns how many they were. The file must not translate line ends.

    Nothing is written before the first link is there, or it is known that there is none.
    """
    rows = csv.writer(file)
    count = 0
    async for link in links:
        if shape == "json":
            json.dump(waypost.record(link), file, ensure_ascii=False, separators=(",", ":"))
            file.write("\n")
        else:
            if not count:
                rows.writerow(waypost.COLUMNS)
            rows.writerow(waypost.row(link))
        count += 1
    if shape == "csv" and not count:
        rows.writerow(waypost.COLUMNS)
    return count
