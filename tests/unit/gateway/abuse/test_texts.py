"""What reporters and operators write: kept as text, with nothing in it that deceives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.abuse.texts import comment_of, contact_of, reason_of
from gateway.labels import unfit
from waypost.errors import InvalidFields

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
PLAIN = [
    "",
    "It asks for my bank's password",
    "first line\n\tsecond line\n\nlast",
    "<img src=x onerror=alert(1)>",
    "'); DROP TABLE reports; --",
    '=HYPERLINK("https://evil.example")',
    "می\u200cخواهم",
    "👨\u200d👩\u200d👧 " + ENGLAND,
    "x" * 2000,
    "\U0001f480" * 2000,
]


@pytest.mark.parametrize("text", PLAIN)
def test_a_comment_is_kept_as_it_is(text: str) -> None:
    assert comment_of(text) == text


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("  padded \r\n", "padded"),
        ("one\r\ntwo\rthree\nfour", "one\ntwo\nthree\nfour"),
        ("nul\x00", "nul\ufffd"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        ("pay\u202elapyap", "pay\ufffdlapyap"),
        ("\u2066isolated\u2069 end", "\ufffdisolated\ufffd end"),
        ("pass\u200bword so\u00adft \ufeff", "pass\ufffdword so\ufffdft \ufffd"),
        ("\ud800 half", "\ufffd half"),
        ("a\x85b\u2028c", "a\ufffdb\ufffdc"),
    ],
)
def test_what_deceives_in_a_comment_is_shown(text: str, stored: str) -> None:
    assert comment_of(text) == stored


@given(st.text(st.characters(), max_size=300))
def test_a_stored_comment_can_be_shown_and_stored_again(text: str) -> None:
    stored = comment_of(text)
    assert unfit(stored.replace("\n", "").replace("\t", "")) == []
    assert "\r" not in stored
    assert comment_of(stored) == stored
    assert len(stored) <= len(text)
    stored.encode()


def refusal(take: Callable[[str], str], text: str) -> str:
    with pytest.raises(InvalidFields) as caught:
        take(text)
    (violation,) = caught.value.violations
    assert violation.field == take.__name__.removesuffix("_of")
    assert violation.description.isascii()
    assert violation.description.isprintable()
    return violation.description


def test_the_most_that_is_taken() -> None:
    assert refusal(comment_of, "x" * 2001) == "has 2,001 characters: shorten it to 2,000"
    assert refusal(contact_of, "x" * 255) == "has 255 characters: shorten it to 254"
    assert refusal(reason_of, "x" * 1001) == "has 1,001 characters: shorten it to 1,000"
    assert contact_of("x" * 254) == "x" * 254
    assert reason_of("x" * 1000) == "x" * 1000


def test_a_contact_is_one_line() -> None:
    assert contact_of(" me@x.example\n") == "me@x.example"
    assert contact_of("") == ""
    assert refusal(contact_of, "a\nb").startswith("has the control character U+000A")
    assert refusal(contact_of, "a\u202eb") == (
        "has the invisible character U+202E (RIGHT-TO-LEFT OVERRIDE) at position 2: remove it"
    )


def test_a_reason_is_needed_and_may_have_lines() -> None:
    assert reason_of(" one\r\ntwo\tthree ") == "one\ntwo\tthree"
    for empty in ("", " ", "\n\t\r\n"):
        assert refusal(reason_of, empty).startswith("is empty")
    assert refusal(reason_of, "a\nb\x00").startswith("has the control character U+0000 at position 4")
    assert "; has 1,002 characters" in refusal(reason_of, "\u202e" + "x" * 1001)
