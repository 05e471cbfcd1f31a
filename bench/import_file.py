"""Makes files to import: `python -m bench.import_file links.csv [--rows 100000] [--format csv|json]`.

Then `waypost links import links.csv`. The rate limit of creates by one address stands in the way of any measurement:
copy `ratelimiter/limits`, raise the numbers, and name the copy in WAYPOST_LIMITS_DIR.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

_WORDS = ("spring", "summer", "autumn", "winter", "report", "sale", "fair", "talk", "guide", "offer", "news", "team")
COLUMNS = ("createdAt", "domain", "shortCode", "shortUrl", "longUrl", "title", "tags", "visits")


def main() -> None:
    """Writes the file that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", choices=["csv", "json"], default="csv")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other codes")
    options = parser.parse_args()
    write = write_csv if options.format == "csv" else write_json
    write(options.file, options.rows, options.seed)
    print(f"{options.file}: {options.rows:,} links, {options.file.stat().st_size / 2**20:.1f} MiB")


def write_csv(path: Path, rows: int, seed: int = 1) -> None:
    """A file as Shlink's web client exports it, with `rows` links that can all be imported."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(COLUMNS)
        writer.writerows(row.values() for row in _rows(rows, seed))


def write_json(path: Path, rows: int, seed: int = 1) -> None:
    """The same links as one answer of Shlink's API."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"shortUrls": {"data": [')
        for number, row in enumerate(_rows(rows, seed)):
            meta = {"validSince": None, "validUntil": None, "maxVisits": None}
            file.write(",\n" if number else "\n")
            json.dump({**row, "tags": str(row["tags"]).split("|"), "meta": meta}, file)
        file.write("\n]}}\n")


def _rows(count: int, seed: int) -> Iterator[dict[str, str | int]]:
    dice = random.Random(seed)
    # The number makes each code another one without regard to case.
    start = dice.randrange(36**4) * 36**4
    for number in range(start, start + count):
        code = _base36(number)
        word, other = dice.sample(_WORDS, 2)
        yield {
            "createdAt": "2024-05-02T11:00:00+02:00",
            "domain": "s.example.com",
            "shortCode": code,
            "shortUrl": f"https://s.example.com/{code}",
            "longUrl": f"https://{word}.example.com/{other}/{number}?utm_source=mail&utm_campaign={word}%20{other}",
            "title": f'The "{word}" {other}, no. {number}',
            "tags": f"{word}|{other}",
            "visits": dice.randrange(1000),
        }


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits.rjust(4, "0")


if __name__ == "__main__":
    main()
