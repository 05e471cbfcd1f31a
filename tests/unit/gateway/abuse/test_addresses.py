"""Which link is meant: a code, or an address as people copy it, and nothing that leads to another site."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.abuse.addresses import ShortAddresses
from gateway.codes import is_code
from waypost.errors import InvalidFields

PLAIN = ShortAddresses("https://go.example")


@pytest.mark.parametrize(
    "text",
    [
        "abc1234",
        " abc1234\n",
        "https://go.example/abc1234",
        "http://go.example/abc1234",
        "HTTPS://GO.Example./abc1234",
        "go.example/abc1234",
        "https://go.example:443/abc1234",
        "https://go.example/abc1234+",
        "https://go.example/abc1234/",
        "https://go.example/abc1234+/",
        "https://go.example/abc1234?utm=1&x=https://evil.example/other12",
        "https://go.example/abc1234#top",
        "https://go.example/abc1234+?a=b#c",
        "https://go.example/abc1234?a b\nc",
    ],
)
def test_a_code_and_its_addresses(text: str) -> None:
    assert PLAIN.code_of(text) == "abc1234"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ab",
        "abc1234+",
        "abc/1234",
        "-abc1234",
        "x" * 65,
        "https://go.example",
        "https://go.example/",
        "https://go.example//abc1234",
        "https://go.example/abc1234/more",
        "https://go.example/../abc1234",
        "https://go.example/%61bc1234",
        "https://go.example/abc1234%2B",
        "https://go.example/abc1234++",
        "https://go.example\\abc1234",
        "https://go.example/abc1234\\",
        "https:/go.example/abc1234",
        "https:///go.example/abc1234",
        "ftp://go.example/abc1234",
        "javascript://go.example/abc1234",
        "//go.example/abc1234",
        "https://evil.example/abc1234",
        "https://go.example.evil.example/abc1234",
        "https://go.example@evil.example/abc1234",
        "https://evil.example@go.example/abc1234",
        "https://evil.example/https://go.example/abc1234",
        "https://evil.example/?https://go.example/abc1234",
        "https://evil.example#go.example/abc1234",
        "https://gо.example/abc1234",
        "https://go.example:x/abc1234",
        "https://go.example:123456/abc1234",
        "https://go.example/abc1234 https://go.example/other12",
        "https://go.example/abc\x001234",
        "https://go.exam\u200bple/abc1234",
        "https://[go.example]/abc1234",
        "https://go.example/abc1234?" + "x" * 8200,
        "/abc1234",
        "?",
        "'; DROP TABLE reports; --",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        PLAIN.code_of(text)
    (violation,) = caught.value.violations
    assert violation.field == "link"
    assert violation.description.endswith("give the code, or the address as in https://go.example/abc1234")
    assert violation.description.startswith("must not" if not text.strip() else "is neither")


@pytest.mark.parametrize(
    ("public_url", "text"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/abc1234"),
        ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/abc1234"),
        ("https://go.example/s", "https://go.example/s/abc1234"),
        ("https://go.example/s/", "go.example/s/abc1234+"),
        ("https://xn--mnchen-3ya.example", "https://münchen.example/abc1234"),
    ],
)
def test_sites_of_every_kind(public_url: str, text: str) -> None:
    assert ShortAddresses(public_url).code_of(text) == "abc1234"


def test_what_lies_outside_of_the_folder_is_no_short_address() -> None:
    for text in ("https://go.example/abc1234", "https://go.example/sabc1234", "https://go.example/S/abc1234"):
        with pytest.raises(InvalidFields):
            ShortAddresses("https://go.example/s").code_of(text)


@given(st.text(max_size=200) | st.from_regex(r"\Ahttps://go\.example/[!-~]{0,20}\Z"))
def test_whatever_comes_is_a_code_or_refused(text: str) -> None:
    try:
        assert is_code(PLAIN.code_of(text))
    except InvalidFields:
        pass


def test_long_texts_cost_little() -> None:
    for text in ("a" * 60_000, "https://" * 8_000, "https://go.example/" + "/" * 60_000, "[" * 60_000, ":" * 60_000):
        with pytest.raises(InvalidFields):
            PLAIN.code_of(text)
