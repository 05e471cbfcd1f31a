"""`waypost links list`: what it finds, and how it shows it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Command, fresh
from waypost.cli.lists import COLUMNS
from waypost.cli.table import Table, cells, cut
from waypost.client import Link, LinkState


@pytest.fixture
def tag(links: Command) -> str:
    """A tag with a space and quotes in it, of three links: the first is deleted, the last has a title."""
    name = f'{fresh()} "quoted" \\'
    deleted = links.make("--tag", name)
    links.said("delete", deleted)
    links.make("--tag", name, "--tag", "other")
    links.make("--tag", name, "--title", "The annual report")
    return name


def codes(text: str) -> list[str]:
    """The first column of a table."""
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_a_table_of_what_is_not_deleted(links: Command, tag: str) -> None:
    head, first, second = links.said("list", "--tag", tag).splitlines()
    assert head.split() == ["SHORT", "CODE", "STATE", "CREATED", "TAGS", "TITLE", "DESTINATION"]
    assert "The annual report" in first
    assert "The annual report" not in second
    assert {line.index("https://example.com/") for line in (first, second)} == {head.index("DESTINATION")}


def test_shortcuts_and_filter_add_up(links: Command, tag: str) -> None:
    def count(*words: str) -> int:
        return len(links.json("list", "--tag", tag, *words))

    assert count() == 2
    assert count("--state", "deleted") == 1
    assert count("--tag", "other") == 1
    assert count("--text", "annual REPORT") == 1
    assert count("--filter", 'text : "report"') == 1
    assert count("--filter", 'text : "report"', "--tag", "other") == 0


def test_order(links: Command, tag: str) -> None:
    newest = codes(links.said("list", "--tag", tag))
    assert codes(links.said("list", "--tag", tag, "--order-by", "created_at")) == newest[::-1]


def test_nothing_found(links: Command) -> None:
    nobody = fresh()
    result = links("list", "--tag", nobody)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no links\n")
    assert links.json("list", "--tag", nobody) == []
    assert links.said("list", "--tag", nobody, "--all", "--json") == ""


def test_limit_and_all(links: Command) -> None:
    name = fresh()
    lines = "".join(json.dumps({"url": "https://example.com/", "tags": [name]}) + "\n" for _ in range(620))
    links.said("batch", "-", stdin=lines)

    result = links("list", "--tag", name)
    assert len(codes(result.stdout)) == 50
    assert result.stderr == "the first 50; more with --limit N, all with --all\n"
    assert len(links.json("list", "--tag", name)) == 50
    # More than the API gives at once.
    assert len(links.json("list", "--tag", name, "--limit", "501")) == 501
    everything = links("list", "--tag", name, "--all")
    assert len(set(codes(everything.stdout))) == 620
    assert everything.stderr == ""
    found = [json.loads(line) for line in links.said("list", "--tag", name, "--all", "--json").splitlines()]
    assert len({link["short_code"] for link in found}) == 620
    assert links("list", "--tag", name, "--limit", "620").stderr == ""


def test_a_refused_filter_is_shown_whole_if_it_was_put_together_here(links: Command) -> None:
    assert links("list", "--filter", "nonsense").stderr == "waypost: --filter at position 1: no condition\n"
    said = links("list", "--filter", "nonsense", "--tag", "a").stderr
    assert said == 'waypost: the filter nonsense AND tag = "a" at position 1: no condition\n'


def test_it_fits_the_terminal(links: Command, tag: str, address: str) -> None:
    screen, end = pty.openpty()
    environment = {**os.environ, "WAYPOST_SERVER": address, "COLUMNS": "64"}
    program = [str(Path(sys.executable).parent / "waypost"), "links", "list", "--tag", tag]
    with subprocess.Popen(program, stdin=end, stdout=end, stderr=end, env=environment) as process:
        assert process.wait(30) == 0
    os.close(end)
    said = os.read(screen, 65_536).decode().replace("\r\n", "\n")
    os.close(screen)
    lines = said.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) == 64
    assert "…" in said


def link(**fields: object) -> Link:
    """A link with these fields."""
    at = datetime(2031, 1, 1, tzinfo=UTC)
    values = {
        "short_code": "abc1234",
        "short_url": "",
        "original_url": "https://example.com/",
        "title": "",
        "tags": (),
        "state": LinkState.ACTIVE,
        "created_at": at,
        "updated_at": at,
        "expires_at": None,
        "max_clicks": 0,
        "clicks_used": 0,
        "redirect_status": 302,
        "forward_query": False,
        "etag": "v1",
        "destination_flags": (),
        **fields,
    }
    return Link(**values)  # type: ignore[arg-type]


FULL = link(
    title="A title of some length",
    tags=("spring", "sale"),
    max_clicks=10,
    original_url="https://example.com/" + "x" * 300,
)


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (None, ["SHORT CODE", "STATE", "CREATED", "CLICKS", "TAGS", "TITLE", "DESTINATION"]),
        (80, ["SHORT CODE", "STATE", "CREATED", "CLICKS", "TAGS", "TITLE", "DESTINATION"]),
        (70, ["SHORT CODE", "STATE", "CREATED", "CLICKS", "TITLE", "DESTINATION"]),
        (50, ["SHORT CODE", "STATE", "TITLE", "DESTINATION"]),
        (40, ["SHORT CODE", "STATE", "DESTINATION"]),
        (20, ["SHORT CODE", "STATE"]),
    ],
)
def test_narrow_terminals_go_without_some_columns(width: int | None, heads: list[str]) -> None:
    table = Table(COLUMNS, [FULL], width)
    assert [head.strip() for head in table.head().split("  ") if head.strip()] == heads
    assert cells(table.row(FULL)) <= (width or 1000)
    if width is None:
        assert FULL.original_url in table.row(FULL)


def test_a_code_is_never_cut() -> None:
    code = "c" * 64
    assert code in Table(COLUMNS, [link(short_code=code)], 40).row(link(short_code=code))


def test_wide_characters_keep_columns_straight() -> None:
    wide, plain = link(title="年次報告書"), link(title="e\u0301t\u00e9 report")
    table = Table(COLUMNS, [wide, plain], 80)
    starts = {cells(row[: row.index("https://")]) for row in (table.row(wide), table.row(plain))}
    assert len(starts) == 1
    assert cut("年次報告書", 6) == "年次…"
    assert cut("年次報告書", 10) == "年次報告書"


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    row = Table(COLUMNS, [link(title="a\x1b[31m\u202eb")], None).row(link(title="a\x1b[31m\u202eb"))
    assert "a [31m b" in row
