"""Short codes: random ones never read badly and grow when they must; aliases follow their rules."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codes import ALPHABET, MIN_LENGTH, CodeSource, check_alias, is_code, random_code
from gateway.words import RESERVED, is_offensive_alias, is_offensive_code, is_reserved
from waypost.errors import InvalidFields


def refusal(alias: str) -> str:
    with pytest.raises(InvalidFields) as caught:
        check_alias(alias)
    (violation,) = caught.value.violations
    assert violation.field == "alias"
    assert violation.description.isascii()
    assert violation.description.isprintable()
    return violation.description


def test_alphabet_is_base62_without_look_alikes() -> None:
    assert set(string.ascii_letters + string.digits) - set(ALPHABET) == set("0Oo1Il")
    assert len(set(ALPHABET)) == len(ALPHABET) == 56


@pytest.mark.parametrize("length", [1, 7, 20])
def test_random_code_has_the_length_and_the_alphabet(length: int) -> None:
    codes = [random_code(length) for _ in range(2000)]
    assert {len(code) for code in codes} == {length}
    assert set("".join(codes)) == set(ALPHABET)


def test_random_codes_differ() -> None:
    assert len({random_code(MIN_LENGTH) for _ in range(5000)}) == 5000


def test_candidates_have_the_first_length_then_grow_in_steps_and_end() -> None:
    lengths = [len(code) for code in CodeSource(collisions_per_step=2).candidates()]
    assert lengths == [7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12]


def test_candidates_fit_the_redirect_route() -> None:
    assert all(is_code(code) for code in CodeSource().candidates())


def _create(source: CodeSource, collisions: int) -> int:
    """Plays one create with so many collisions; the length of the code it ends with."""
    return len(next(itertools.islice(source.candidates(), collisions, None)))


def test_collisions_of_one_create_do_not_outlive_it() -> None:
    source = CodeSource(collisions_per_step=3)
    assert _create(source, 3) == 8
    assert source.length == 7
    assert _create(source, 0) == 7


def test_length_grows_for_good_once_a_quarter_collides() -> None:
    source = CodeSource(collisions_per_step=3)
    needed = int(source.WINDOW * source.FULL_SHARE)
    for _ in range(needed - 1):
        assert _create(source, 1) == 7
    assert source.length == 7
    _create(source, 1)
    assert source.length == 8
    assert _create(source, 0) == 8
    # The longer length is judged by its own candidates.
    assert _create(source, 2) == 8
    assert source.length == 8


def test_length_stays_while_collisions_are_rare() -> None:
    source = CodeSource()
    for number in range(20 * source.WINDOW):
        _create(source, collisions=1 if number % 8 == 0 else 0)
    assert source.length == 7


def test_collisions_at_a_longer_length_say_nothing_about_the_first_one() -> None:
    source = CodeSource(collisions_per_step=1)
    for _ in range(4):
        _create(source, 5)
    assert source.length == 7


def _playing(codes: list[str]) -> Callable[[int], str]:
    remaining = iter(codes)
    return lambda length: next(remaining)


@pytest.mark.parametrize(
    "bad",
    ["metrics", "HEaLtHz", "xfuckxx", "XXsHiTx", "x5h17xx", "b17cHes", "xxxCUNT", "a55xxxx", "xnigxxx", "xxd1ckx"],
)
def test_reserved_and_profane_words_never_come_out(bad: str) -> None:
    source = CodeSource(draw=_playing([bad, bad, "GoodCde"]))
    assert next(source.candidates()) == "GoodCde"


def test_most_random_codes_pass_the_word_lists() -> None:
    refused = sum(is_offensive_code(random_code(7)) for _ in range(5000))
    assert refused < 50


GOOD_ALIASES = [
    "abc", "ABC", "a-b", "a_b", "a" * 64, "2024", "007", "summer-sale", "q3_report", "x--", "apis-of-2024", "my-api",
    "admin-guide",
]  # fmt: skip


@pytest.mark.parametrize("alias", GOOD_ALIASES)
def test_good_alias(alias: str) -> None:
    check_alias(alias)
    assert is_code(alias)


@pytest.mark.parametrize(
    "word",
    [
        "api", "API", "Admin", "healthz", "HealthZ", "readyz", "livez", "health", "ready", "metrics", "docs", "openapi",
        "openapi.json", "favicon.ico", "FAVICON.ICO", "robots.txt", "sitemap.xml", ".well-known", ".WELL-KNOWN",
        "static", "assets", "app", "dashboard", "login", "logout", "signup", "settings", "report", "about", "help",
        "terms", "privacy", "Waypost", "www",
    ],
)  # fmt: skip
def test_reserved_alias_in_any_case(word: str) -> None:
    assert "reserved" in refusal(word)


def test_reserved_words_are_lower_case_and_reserved_in_capitals() -> None:
    assert all(word == word.lower() and is_reserved(word.upper()) for word in RESERVED)


MALFORMED = [
    ("empty", "", "0 characters"),
    ("short", "ab", "2 characters"),
    ("long", "a" * 65, "65 characters: use 3 to 64"),
    ("dots", "..", "'.'"),
    ("parent", "../x", "'.'"),
    ("encoded-parent", "%2e%2e%2f", "'%'"),
    ("slash", "a/b", "'/'"),
    ("encoded-nul", "a%00b", "'%'"),
    ("nul", "a\0b", r"'\x00'"),
    ("underscore-first", "_internal", "starts with '_'"),
    ("hyphen-first", "-flag", "starts with '-'"),
    ("space", "a b", "' '"),
    ("trailing-line-feed", "abc\n", r"'\n'"),
    ("trailing-plus", "abc+", "'+'"),
    ("trailing-dot", "abc.", "'.'"),
    ("trailing-slash", "abc/", "'/'"),
    ("composed", "caf\u00e9", r"'\xe9'"),
    ("decomposed", "cafe\u0301", r"'\u0301'"),
    ("roman-numeral", "abⅰ", r"'\u2170'"),
    ("ligature", "ﬁrst", r"'\ufb01'"),
    ("kelvin-sign", "\u212aelvin", r"'\u212a'"),
    ("other-digits", "abc١٢", r"'\u0661'"),
    ("emoji-with-joiner", "👩\u200d💻", r"'\U0001f469'"),
    ("lone-surrogate", "abc\ud800", r"'\ud800'"),
]


@pytest.mark.parametrize(("alias", "why"), [m[1:] for m in MALFORMED], ids=[m[0] for m in MALFORMED])
def test_malformed_alias(alias: str, why: str) -> None:
    assert why in refusal(alias)
    assert not is_code(alias)


@pytest.mark.parametrize(
    "alias",
    ["fuck-this", "whatthefuckever", "FuCk", "sh1t", "5h1t", "f-u-c-k", "f_u_c_k-you", "a-s-s", "my-ass", "ass123",
     "N1gger", "b1tch", "s1ut", "CUNT", "bull5hit", "holy_shit"],
)  # fmt: skip
def test_profane_alias_is_refused_without_repeating_it(alias: str) -> None:
    assert refusal(alias) == "is not available: choose another alias"


@pytest.mark.parametrize(
    "alias",
    [
        "Scunthorpe", "Penistone", "Clitheroe", "Essex", "Sussex-council", "cocktail-hour", "Hancock", "peacock",
        "therapist", "analysis", "analytics-2024", "assessment-1", "class-pass", "bass", "grape-harvest", "document",
        "cumulative", "Matsushita", "push-it", "moby-dick", "Dickens", "titanic", "tit-for-tat", "constitution",
        "snigger", "Fukushima", "computacion", "reputation", "saltwater", "swank", "torpedo", "pedometer", "shiitake",
        "a55-roadworks", "455", "5455", "gay-pride", "habitchange", "bitchain", "magicuntold", "openissues", "hello",
        "niger", "nigeria", "spice", "parse", "wankel", "en-retard", "rape-crisis", "sex-education", "buttons",
    ],
)  # fmt: skip
def test_innocent_alias_passes(alias: str) -> None:
    check_alias(alias)
    assert not is_offensive_alias(alias)


@given(st.text(alphabet=st.one_of(st.sampled_from("aZ09_-"), st.characters()), max_size=70))
@settings(max_examples=500)
def test_every_alias_that_passes_is_a_code(text: str) -> None:
    try:
        check_alias(text)
    except InvalidFields:
        return
    assert is_code(text)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{2,63}", fullmatch=True))
def test_codes_by_shape(text: str) -> None:
    assert is_code(text)
    assert not is_code(text + "+")
    assert not is_code("_" + text[1:])
    assert not is_code(text + "\n")
