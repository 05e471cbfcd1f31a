"""What commands say when something went wrong."""

from __future__ import annotations

import json

import pytest

from waypost.cli.output import counted, fail, fail_lines


def test_one_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    # What a server says may have lines and whatever a terminal would obey.
    assert fail(2, "no\n  such\tthing \x1b[31m\u202e\x07", as_json=False) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "waypost: no such thing [31m\n")


def test_an_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(3, "é\n", as_json=True, code="UNAVAILABLE", details=[]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err) == {"message": "é\n", "code": "UNAVAILABLE", "details": []}


def test_several_things(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_lines(1, ["one", "two"]) == 1
    assert capsys.readouterr().err == "waypost: one\nwaypost: two\n"


@pytest.mark.parametrize(("count", "text"), [(0, "0 links"), (1, "1 link"), (2, "2 links"), (1200, "1,200 links")])
def test_one_is_no_plural(count: int, text: str) -> None:
    assert counted(count, "link") == text
