"""Every system's files: what is recognised, what is carried over, and what is left out for which reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.unit.cli.transfer.files import SAMPLES, read, told
from waypost.cli.transfer.commands import SYSTEMS
from waypost.cli.transfer.formats import FORMATS
from waypost.cli.transfer.reading import inspect
from waypost.cli.transfer.records import Candidate, Place, Problem
from waypost.client import NewLink

LINE, RECORD = "line", "record"


def line(number: int, new: NewLink) -> Candidate:
    return Candidate(Place("line", number), new)


def record(number: int, new: NewLink) -> Candidate:
    return Candidate(Place("record", number), new)


OZH = NewLink(url="https://example.com/ozh", alias="ozh", title="Ozh")
LEFT = NewLink(
    url="https://example.com/left",
    alias="left",
    expires_at=datetime(2099, 1, 1, tzinfo=UTC),
    max_clicks=7,
    redirect_status=302,
)
ONE = NewLink(url="https://example.com/one", alias="Ab3dEf", title="The first")

EXPECTED: dict[str, tuple[str, list[Candidate], list[tuple[str, str, str]]]] = {
    "bitly.csv": (
        "bitly",
        [
            line(
                2,
                NewLink(
                    url="https://example.com/reports/spring?utm_source=mail&utm_medium=a%2Bb",
                    alias="3kTvNx2",
                    title="Spring report",
                ),
            ),
            line(3, NewLink(url="https://fair.example.com/#tickets", alias="summer-fair", title="Summer fair, 2024")),
        ],
        [("line 4", "skipped", "it is archived")],
    ),
    "bitly_api.json": (
        "bitly",
        [
            record(
                1,
                NewLink(
                    url="https://example.com/reports/spring",
                    alias="3kTvNx2",
                    title="Spring report",
                    tags=("mail", "spring sale"),
                ),
            ),
            record(2, NewLink(url="https://fair.example.com/", alias="summer-fair")),
        ],
        [("record 3", "skipped", "it is archived")],
    ),
    "shlink.csv": (
        "shlink",
        [
            line(
                2,
                NewLink(
                    url="https://example.com/a?x=1&x=2",
                    alias="rKqTn",
                    title='A "quoted" title',
                    tags=("docs", "how-to"),
                ),
            ),
            Candidate(
                Place("line", 3),
                NewLink(url="https://example.com/team", alias="team", title="First line second line"),
                tidied=True,
            ),
        ],
        [
            (
                "line 5",
                "failed",
                "the code 'blog/post' cannot be an alias, which is 3 to 64 of A-Z a-z 0-9 _ - and begins with a "
                "letter or a digit: change it in the file and run again with --restart, or put it in a file of its own "
                "and import that with --prefix or --random-codes",
            )
        ],
    ),
    "shlink_importer.csv": (
        "shlink",
        [
            line(
                2,
                NewLink(url="https://example.com/a?x=1", alias="rKqTn", title="Grüße", tags=("docs", "how-to")),
            ),
            line(3, NewLink(url="https://example.com/team", alias="team")),
        ],
        [],
    ),
    "shlink_api.json": (
        "shlink",
        [
            record(
                1,
                NewLink(
                    url="https://example.com/rKqTn", alias="rKqTn", title="A title", tags=("docs",), forward_query=True
                ),
            ),
            record(
                2,
                NewLink(
                    url="https://example.com/ends",
                    alias="ends",
                    expires_at=datetime(2099, 12, 31, 22, 59, 59, tzinfo=UTC),
                    max_clicks=6,
                ),
            ),
        ],
        [
            ("record 3", "skipped", "it expired at 2023-12-31T23:00:00Z"),
            ("record 4", "skipped", "it begins only at 2097-12-31T23:00:00Z, and links here begin at once"),
            ("record 5", "skipped", "its 4 clicks are used up"),
        ],
    ),
    "kutt_api.json": (
        "kutt",
        [
            record(1, ONE),
            record(
                4,
                NewLink(
                    url="https://example.com/four",
                    alias="till99",
                    expires_at=datetime(2099, 5, 2, 11, tzinfo=UTC),
                ),
            ),
        ],
        [
            ("record 2", "skipped", "it asks for a password, which cannot be carried over"),
            ("record 3", "skipped", "it is banned"),
        ],
    ),
    "kutt_table.csv": (
        "kutt",
        [line(2, ONE)],
        [
            ("line 3", "skipped", "it asks for a password, which cannot be carried over"),
            ("line 4", "skipped", "it is banned"),
            ("line 5", "skipped", "it expired at 2024-06-01T00:00:00Z"),
        ],
    ),
    "yourls_table.tsv": (
        "yourls",
        [
            line(2, NewLink(url="https://example.com/ozh?a=1;b=2", alias="ozh", title="Ozh, the planet")),
            line(3, NewLink(url="https://example.com/untitled", alias="nt1")),
        ],
        [],
    ),
    "yourls_plugin.csv": (
        "yourls",
        [
            line(2, NewLink(url="https://example.com/ozh?a=1,b=2", alias="ozh")),
            line(3, NewLink(url="https://example.com/docs", alias="docs")),
        ],
        [],
    ),
    "yourls_stats.json": (
        "yourls",
        [record(1, OZH), record(2, NewLink(url="https://example.com/docs", alias="docs"))],
        [],
    ),
    "yourls_phpmyadmin.json": (
        "yourls",
        [record(1, OZH), record(2, NewLink(url="https://example.com/number", alias="123"))],
        [],
    ),
    "waypost.csv": (
        "waypost",
        [
            line(
                2,
                NewLink(
                    url="https://example.com/talk",
                    alias="talk",
                    title="=SUM(1,2)",
                    tags=("a", "spring sale"),
                    redirect_status=301,
                    forward_query=True,
                ),
            ),
            line(3, LEFT),
        ],
        [("line 4", "skipped", "it is deleted")],
    ),
    "waypost.jsonl": (
        "waypost",
        [
            line(
                1,
                NewLink(
                    url="https://example.com/talk",
                    alias="talk",
                    title="=SUM(1,2) Grüße",
                    tags=("a", "spring sale"),
                    redirect_status=301,
                    forward_query=True,
                ),
            ),
            line(2, LEFT),
        ],
        [("line 3", "skipped", "it is blocked")],
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_this_system_is_recognised_and_carried_over(name: str) -> None:
    system, links, problems = EXPECTED[name]
    assert inspect(SAMPLES / name).format.name == system
    found = read(SAMPLES / name)
    assert [one for one in found if isinstance(one, Candidate)] == links
    assert told(found) == problems
    assert len(found) == len(links) + len(problems)


def test_there_is_a_sample_of_each_system_and_each_sample_is_expected() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(EXPECTED)
    assert {system for system, _, _ in EXPECTED.values()} == set(FORMATS) == set(SYSTEMS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_forced_format_reads_the_same(name: str) -> None:
    assert read(SAMPLES / name, form=EXPECTED[name][0]) == read(SAMPLES / name)


def test_problems_name_the_code_and_the_url_of_the_file() -> None:
    problem = read(SAMPLES / "bitly.csv")[-1]
    assert isinstance(problem, Problem)
    assert (problem.code, problem.url) == ("2XyZold", "https://example.com/old")
