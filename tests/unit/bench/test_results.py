"""Figures are the middle one of several runs, and are kept whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import results


def test_a_figure_is_the_median_with_its_spread() -> None:
    assert results.figure([3, 1, 10]) == {"median": 3.0, "min": 1.0, "max": 10.0}
    with pytest.raises(ValueError, match="no run gave a figure"):
        results.figure([])


def test_what_a_part_measured_is_kept_until_it_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "BUILD", tmp_path / "bench")
    assert results.load("some-part") is None
    content = {"rows": [{"server": "one", "per_second": results.figure([1])}]}
    path = results.save("some-part", content)
    assert path.name == "some_part.json"
    assert [file.name for file in path.parent.iterdir()] == ["some_part.json"]
    assert results.load("some-part") == content
    results.forget("some-part")
    assert results.load("some-part") is None
    results.forget("some-part")
