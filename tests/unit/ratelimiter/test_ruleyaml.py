"""Rule files read with libyaml and without it: the same content, the same refusals."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter import ruleyaml
from ratelimiter.ruleyaml import Written, parse_yaml

PIECES = [
    *" \n\t:-?[]{},&*#|>!%@`'\"\\~<=a1._/\r\x85\u2028\ufeffé\x01",
    *("\n  ", "\n- ", "- ", ": ", "<<: ", "? ", "!!str ", "--- ", "...\n", "&a ", "*a", "|\n", "> \n", " # a?\r"),
    *("0x1", "1e3", ".inf", "2024-01-01", "yes", "null", "{a: b}", "[a, b]", "''", "key: value\n"),
]


def read(text: str) -> object:
    """What it says, or that it is refused and why."""
    try:
        return told(parse_yaml(text))
    except yaml.MarkedYAMLError as error:
        return type(error), error.problem, None if error.problem_mark is None else error.problem_mark.line
    except yaml.YAMLError as error:
        return type(error), str(error)
    except RecursionError:
        return RecursionError


def told(content: object) -> object:
    """The content with what its texts look like."""
    if isinstance(content, dict):
        return [(told(key), told(value)) for key, value in content.items()]
    if isinstance(content, list):
        return [[told(value)] for value in content]
    return (str(content), repr(content.meant)) if isinstance(content, Written) else content


def read_plainly(text: str) -> object:
    """The same without libyaml."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ruleyaml, "QuickLoader", None)
        return read(text)


def test_libyaml_is_used_where_it_is_built_in() -> None:
    assert yaml.__with_libyaml__ is (ruleyaml.QuickLoader is not None)


@pytest.mark.parametrize(
    "text",
    [
        "a: {b?: c}",
        "a: [b?c]",
        "a:\tb\tc",
        "a: !\n",
        "a: b\n\ufeff",
        "# a\rb: [c?]\n",
        "# a\x85b: [c?]\n",
        "a: |#c\n b",
        "a: >-#c\n b",
        "a: |2#c\n  b",
        "a: {b: c, b: d}",
        "a: &x {b: c}\nd: {<<: *x, b: e}",
        "a: *x",
        "? [a]\n: b",
        "a: 'b",
        "a: b\n  c: d",
        "a: [b, c\nd: e",
        "--- a\n--- b",
        "[" * 100_000,
        "a: \x01",
        "a: 2024-01-01\nb: 007\nc: .inf\nd: 1_000\ne: yes\nf: ~\ng:\n",
    ],
)
def test_what_the_two_parsers_see_otherwise_is_read_as_without_libyaml(text: str) -> None:
    assert read(text) == read_plainly(text)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_text_is_read_the_same(text: str) -> None:
    assert read(text) == read_plainly(text)


@pytest.mark.skipif(ruleyaml.QuickLoader is None, reason="PyYAML was built without libyaml")
def test_what_comments_say_does_not_slow_a_file_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ruleyaml, "PlainLoader", None)
    assert parse_yaml("# Why?\n  # Because!\na: b\n") == {"a": "b"}
