"""What is exported can be read back: byte for byte, and no cell of it is a formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.transfer.files import candidates, read, read_bytes
from tests.unit.cli.transfer.server import link
from waypost.cli.transfer.exporter import Shape, write_links
from waypost.cli.transfer.formats.waypost import COLUMNS, guard, unguard
from waypost.cli.transfer.records import Rules
from waypost.client import Link, NewLink

DANGEROUS = tuple("=+-@\t\r")

texts = st.text(st.characters(exclude_categories=["Cs"]))
starts = st.text("'=+-@\t\r\n\"", max_size=4)
cells = st.one_of(texts, st.builds(str.__add__, starts, texts))

words = st.builds(str.__add__, st.text("'=+-@", max_size=3), st.text("aB1 é☃'\"", max_size=10)).map(str.strip)
codes = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{2,20}", fullmatch=True)
urls = st.builds("https://example.com/{}".format, st.text("a%20?&=+'\"#;,|é", max_size=30))
times = st.datetimes(datetime(2027, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def links(draw: st.DrawFn) -> Link:
    return link(
        draw(codes),
        draw(urls),
        title=draw(words),
        tags=tuple(draw(st.lists(words.filter(bool), max_size=5, unique=True))),
        expires_at=draw(st.none() | times),
        max_clicks=draw(st.integers(0, 1_000_000_000)),
        redirect_status=draw(st.sampled_from([301, 302, 307, 308])),
        forward_query=draw(st.booleans()),
    )


async def exported(found: Sequence[Link], shape: Shape) -> bytes:
    async def each() -> AsyncIterator[Link]:
        for one in found:
            yield one

    file = io.StringIO(newline="")
    assert await write_links(each(), file, shape) == len(found)
    return file.getvalue().encode()


@given(cells)
def test_a_guarded_cell_is_no_formula_and_is_undone_exactly(cell: str) -> None:
    assert not guard(cell).startswith(DANGEROUS)
    assert unguard(guard(cell)) == cell


@given(st.lists(st.lists(cells, min_size=2, max_size=4), min_size=1))
def test_rows_of_guarded_cells_survive_csv(rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([guard(cell) for cell in row] for row in rows)
    file.seek(0)
    assert [[unguard(cell) for cell in row] for row in csv.reader(file)] == rows


@pytest.mark.parametrize("shape", ["csv", "json"])
@given(found=st.lists(links(), max_size=8))
async def test_links_are_read_back_as_they_were(
    shape: Shape, found: list[Link], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = await exported(found, shape)
    if not found and shape == "json":
        assert content == b""
        return
    # The suite's own folders are made once for all examples.
    folder = tmp_path_factory.getbasetemp()
    assert [one.link for one in candidates(read_bytes(folder, content))] == [
        NewLink(
            url=one.original_url,
            alias=one.short_code,
            title=one.title,
            tags=one.tags,
            expires_at=one.expires_at,
            max_clicks=one.max_clicks,
            redirect_status=one.redirect_status,
            forward_query=one.forward_query,
        )
        for one in found
    ]


async def test_the_csv_has_these_columns_and_line_ends() -> None:
    found = link("talk", title="=1+1", tags=("a", "-b"), max_clicks=3, forward_query=True)
    assert (
        await exported([found], "csv")
        == (
            f"{','.join(COLUMNS)}\r\n"
            'talk,https://go.example.com/talk,https://example.com/,\'=1+1,"a,-b",active,2026-01-02T03:04:05Z,'
            "2026-01-02T03:04:05Z,,3,0,302,true\r\n"
        ).encode()
    )


async def test_json_lines_have_the_contracts_names() -> None:
    (line,) = (await exported([link("talk", title="Grüße", tags=("a",))], "json")).splitlines()
    assert "Grüße".encode() in line
    assert json.loads(line) == {
        "short_code": "talk",
        "short_url": "https://go.example.com/talk",
        "original_url": "https://example.com/",
        "title": "Grüße",
        "tags": ["a"],
        "state": "active",
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "expires_at": None,
        "max_clicks": 0,
        "clicks_used": 0,
        "redirect_status": 302,
        "forward_query": False,
    }


def test_a_quote_of_another_systems_cell_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("address,target,description\nabc,https://example.com/,'=1\n")
    (one,) = candidates(read(path, rules=Rules(datetime(2026, 1, 1, tzinfo=UTC))))
    assert one.link.title == "'=1"
