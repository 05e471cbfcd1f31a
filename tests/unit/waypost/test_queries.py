"""Named SQL statements."""

from __future__ import annotations

from pathlib import Path

import pytest

from waypost.adapters.queries import QUERIES, Queries


def test_ours_are_there_without_comments() -> None:
    assert QUERIES["get_link"].startswith("SELECT workspace_id")
    assert len(QUERIES) == len(list(QUERIES))
    assert not any("--" in statement or statement.endswith(";") for statement in QUERIES.values())


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(KeyError, match="get_link"):
        QUERIES["get_lnik"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "taken"),
        ("-- name: a\n-- name: b\nSELECT 2;", "empty"),
        ("-- name: a-b\nSELECT 2;", "not a name"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.sql").write_text(text)
    with pytest.raises(ValueError, match=message):
        Queries.read(tmp_path)


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    for name in ("x.sql", "y.sql"):
        (tmp_path / name).write_text("-- name: a\nSELECT 1;\n")
    with pytest.raises(ValueError, match="taken"):
        Queries.read(tmp_path)
