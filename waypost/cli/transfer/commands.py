"""The commands `waypost links import` and `export` and their help; each imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

import click

from waypost.cli.options import EXIT_CODES, Target, both

SYSTEMS = ["waypost", "bitly", "shlink", "kutt", "yourls"]

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("import", short_help="Import links from a file of another system.", epilog=EXIT_CODES)
@click.argument("file", type=_file)
@click.option(
    "--format",
    type=click.Choice(SYSTEMS),
    metavar="SYSTEM",
    help=f"Whose file it is: {', '.join(SYSTEMS)}  [default: what its content says].",
)
@click.option("--encoding", help="Its encoding, windows-1252 for example  [default: UTF-8, or what its BOM says].")
@click.option("--dry-run", is_flag=True, help="Only check the file, and send nothing.")
@click.option("--prefix", default="", metavar="TEXT", help="Put this in front of every short code.")
@click.option("--random-codes", is_flag=True, help="Do not keep the short codes; make new ones.")
@click.option("--restart", is_flag=True, help="Begin anew, whatever an earlier import of the file has done.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 16),
    default=4,
    metavar="N",
    help="Batches that are under way at a time  [default: 4].",
)
@click.option(
    "--batch-size", type=click.IntRange(1, 1000), default=1000, metavar="N", help="Links in each  [default: 1000]."
)
@click.option("--report", type=_file, help="Where to list what is not imported  [default: FILE.waypost-report.csv].")
@click.option("--journal", type=_file, help="Where to note what is done  [default: FILE.waypost-import].")
@both
def import_command(target: Target, as_json: bool, **options: Any) -> None:
    """Import the links of FILE: an export of Bitly, Shlink, Kutt, YOURLS or Waypost, as CSV or JSON.

    Short codes, URLs, titles, tags, ends and limits of clicks are kept. Links that were archived, banned, expired or
    asked for a password are left out, and listed with the reason.

    Running the same command again goes on where it stopped; no link is made twice. Ctrl-C ends it in good order.

    \b
    Examples:
      waypost links import short_urls.csv --dry-run
      waypost links import short_urls.csv
      waypost links import bitly.csv --prefix bitly-

    Exit code 1 also if a record was left out, 130 after Ctrl-C.
    """
    from waypost.cli.transfer.importing import ImportOptions, import_links

    sys.exit(import_links(os.environ, target, ImportOptions(**options), as_json=as_json))


@click.command("export", short_help="Export links to a file.", epilog=EXIT_CODES)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["csv", "json"]),
    default="csv",
    metavar="FORMAT",
    help="csv, or json: one object a line  [default: csv].",
)
@click.option("--filter", "filter_text", default="", help="Only those that a filter of `waypost links list` finds.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Where to write them  [default: -, standard output].")
@both
def export_command(target: Target, as_json: bool, shape: Literal["csv", "json"], filter_text: str, output: str) -> None:
    """Export all links that are not deleted, the newest first; `waypost links import` reads them back.

    The file is there once it is complete. In CSV, cells that a spreadsheet would take for a formula begin with a single
    quote.

    \b
    Examples:
      waypost links export -o links.csv
      waypost links export --filter 'tag = "spring sale"' --format json
      waypost links export --filter 'state = deleted' -o deleted.csv
    """
    from waypost.cli.transfer.exporting import export_links

    sys.exit(export_links(os.environ, target, as_json=as_json, shape=shape, filter_text=filter_text, output=output))
