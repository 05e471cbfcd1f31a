"""What a record must have to be sent, and what its values mean."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.cli.transfer.files import NOW
from waypost.cli.transfer.records import Candidate, Draft, Entry, Place, Problem, Rules, time_of, whole_number

PLACE = Place("line", 2)
GOOD = Draft("https://example.com/", "abc")


def check(draft: Draft, rules: Rules | None = None) -> Candidate | Problem:
    return (rules or Rules(NOW)).check(Entry(PLACE, draft))


def alias(draft: Draft, **rules: Any) -> str:
    found = check(draft, Rules(NOW, **rules))
    assert isinstance(found, Candidate), found
    return found.link.alias


def reason(draft: Draft, kind: str = "failed") -> str:
    found = check(draft)
    assert isinstance(found, Problem), found
    assert found.kind == kind
    return found.reason


@pytest.mark.parametrize("code", ["abc", "A-_", "0ab", "x" * 64])
def test_a_code_that_can_be_an_alias_is_kept(code: str) -> None:
    assert alias(replace(GOOD, code=code)) == code


@pytest.mark.parametrize("code", ["ab", "x" * 65, "-ab", "_ab", "café", "a/b", "a b", "abc\n", "a.b"])
def test_a_code_that_cannot_be_an_alias_fails_and_says_what_to_do(code: str) -> None:
    said = reason(replace(GOOD, code=code))
    # The whole file with other codes would make all the others once more.
    assert said.endswith("or put it in a file of its own and import that with --prefix or --random-codes")


def test_a_prefix_comes_in_front_of_every_code_and_may_make_it_fit() -> None:
    assert alias(GOOD, prefix="old-") == "old-abc"
    assert alias(replace(GOOD, code="ab"), prefix="old-") == "old-ab"
    assert alias(replace(GOOD, code=""), prefix="old-") == ""


def test_bytes_that_are_not_utf_8_among_random_codes_call_for_a_file_of_their_own() -> None:
    found = check(replace(GOOD, title="\udcff"), Rules(NOW, random_codes=True))
    assert isinstance(found, Problem)
    assert "file of its own" in found.reason
    assert "--restart" not in found.reason


def test_random_codes_take_the_place_of_any() -> None:
    assert alias(replace(GOOD, code="café/é"), random_codes=True) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "it has no URL to lead to"),
        ("javascript:alert(1)", "its URL does not begin with http:// or https:// and a host"),
        ("//example.com", "its URL does not begin with http:// or https:// and a host"),
        ("https:///path", "its URL does not begin with http:// or https:// and a host"),
        ("https://a.example/ b", "its URL has a space or a control character: write it in percent-encoding"),
        ("https://a.example/\x00", "its URL has a space or a control character: write it in percent-encoding"),
        ("https://a.example/" + "é" * 4096, "its URL is longer than 8,192 bytes"),
        ("https://a.example/\udcff", "it has bytes that are not UTF-8: give the file's --encoding, with --restart"),
        ("https://a.example/\ud83d", "it has half of a character: mend the file"),
    ],
)
def test_a_url_that_no_server_would_take_fails(url: str, why: str) -> None:
    assert reason(replace(GOOD, url=url)) == why


@pytest.mark.parametrize("url", ["HTTPS://Example.com", "http://münchen.de/ü?x=%2B", "https://a.example/" + "x" * 8000])
def test_a_url_is_sent_as_it_is(url: str) -> None:
    found = check(replace(GOOD, url=f" {url}\n"))
    assert isinstance(found, Candidate)
    assert found.link.url == url


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (None, None),
        ("", None),
        (" NULL ", None),
        ("\\N", None),
        ("0000-00-00 00:00:00", None),
        (False, None),
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31 12:00:00", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31 12:00:00+02", datetime(2030, 1, 31, 10, tzinfo=UTC)),
        ("2030-01-31T12:00:00.500+0100", datetime(2030, 1, 31, 11, 0, 0, 500_000, tzinfo=UTC)),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
        (1_900_000_000, datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC)),
        ("1900000000", datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC)),
        (1_900_000_000_123, datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_systems_write_them(value: object, at: datetime | None) -> None:
    assert time_of(value) == at


@pytest.mark.parametrize("value", ["tomorrow", "2030-13-01", "9" * 18, True, "0001-01-01T00:00:00+12:00", [1]])
def test_what_is_no_time_is_told(value: object) -> None:
    with pytest.raises(ValueError):
        time_of(value)
    assert "is no time" in reason(replace(GOOD, expires=value))


def test_a_link_that_has_expired_is_skipped_and_one_that_will_is_not() -> None:
    assert reason(replace(GOOD, expires=NOW.isoformat()), "skipped") == "it expired at 2026-06-01T00:00:00Z"
    later = (NOW + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=5)))
    found = check(replace(GOOD, expires=later.isoformat()))
    assert isinstance(found, Candidate)
    assert found.link.expires_at == later
    assert found.link.expires_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "number"), [(None, 0), ("", 0), (" 7 ", 7), (7, 7), (7.0, 7), (Decimal("7"), 7), (True, 0), ("null", 0)]
)
def test_numbers_are_read_as_systems_write_them(value: object, number: int) -> None:
    assert whole_number(value) == number


@pytest.mark.parametrize("value", ["1,000", "many", 7.5, Decimal("7.5"), float("nan"), float("inf"), "٧"])
def test_what_is_no_number_is_told(value: object) -> None:
    assert "is no whole number" in reason(replace(GOOD, max_clicks=value))


def test_of_a_limit_of_clicks_what_is_left_is_carried_over() -> None:
    found = check(replace(GOOD, max_clicks="10", clicks=3))
    assert isinstance(found, Candidate)
    assert found.link.max_clicks == 7
    assert reason(replace(GOOD, max_clicks=3, clicks="3"), "skipped") == "its 3 clicks are used up"
    assert reason(replace(GOOD, max_clicks=1, clicks=1), "skipped") == "its 1 click is used up"
    assert "is not between 1 and" in reason(replace(GOOD, max_clicks=10**12))
    assert "is not between 1 and" in reason(replace(GOOD, max_clicks=-5, clicks=-9))


def test_a_status_that_is_no_redirect_fails() -> None:
    assert reason(replace(GOOD, redirect_status="303")) == "its redirect status 303 is none of 301, 302, 307 and 308"


def test_titles_and_tags_of_others_are_made_to_fit_and_it_is_counted() -> None:
    draft = replace(
        GOOD,
        title=" a\r\n\tb\u200b " + "x" * 300,
        tags=("one,two", "one", "", "\u202eleft", "t" * 60, *(f"tag{i}" for i in range(30))),
    )
    found = check(draft)
    assert isinstance(found, Candidate)
    assert found.tidied
    assert found.link.title == "a b " + "x" * 252
    assert found.link.tags[:4] == ("one", "two", "left", "t" * 50)
    assert len(found.link.tags) == 20


def test_titles_and_tags_of_our_own_are_left_as_they_are() -> None:
    found = check(replace(GOOD, title="a  b ", tags=("x ",), exact=True))
    assert isinstance(found, Candidate)
    assert (found.link.title, found.link.tags, found.tidied) == ("a  b ", ("x ",), False)


def test_what_is_told_of_a_record_cannot_drive_a_terminal() -> None:
    found = check(replace(GOOD, code="\x1b[2J", url="https://e.example/\x1b[2J" + "x" * 1000))
    assert isinstance(found, Problem)
    assert (found.code + found.url + found.reason).isprintable()
    assert len(found.url) == 201
