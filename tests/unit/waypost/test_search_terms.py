"""What links are found by: the words of every script, the terms of a link, and work that stays small."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.search_terms import MAX_WORD_CHARS, MAX_WORDS, fold, link_terms, split, tag_term, word_term, words

WORDS = [
    ("nothing", "", []),
    ("only-signs", " -_.:/?*+=#%&😀€ ", []),
    ("plain", "Annual report 2026", ["annual", "report", "2026"]),
    ("joined-by-signs", "spring-sale_26.final/v2", ["spring", "sale", "26", "final", "v2"]),
    ("repeated", "a B A b a", ["a", "b"]),
    ("german", "STRASSE Straße Ärger", ["strasse", "ärger"]),
    ("decomposed", "A\u0308rger", ["ärger"]),
    ("ligature-and-fullwidth", "ﬁnal Ｒｅｐｏｒｔ", ["final", "report"]),
    ("final-sigma", "ΟΔΟΣ οδός ΟΔΌΣ", ["οδοσ", "οδόσ"]),
    ("dotted-capital-i", "İstanbul", ["i\u0307stanbul"]),
    ("cyrillic", "Годовой ОТЧЁТ", ["годовой", "отчёт"]),
    ("devanagari-keeps-its-marks", "हिन्दी भाषा", ["हिन्दी", "भाषा"]),
    ("chinese", "年度报告，2026年", ["年度报告", "2026年"]),
    ("korean-decomposed", unicodedata.normalize("NFD", "한국"), ["한국"]),
    ("arabic-digits", "٢٠٢٦", ["٢٠٢٦"]),
    ("fraction-and-square", "½ x²", ["1", "2", "x2"]),
    ("letter-in-a-circle", "Ⓐbc", ["abc"]),
    ("roman-numeral", "Ⅻ", ["xii"]),
    ("no-break-space", "a\u00a0b", ["a", "b"]),
    ("mark-of-no-letter", "❤\ufe0f !\u0301a", ["a"]),
    ("joined-emoji", "👩\u200d💻 code", ["code"]),
    ("control-characters", "a\x00b\tc\x7f", ["a", "b", "c"]),
    ("half-a-character", "a\ud800b", ["a", "b"]),
    ("private-use", "a\ue000b", ["a", "b"]),
    ("apostrophe", "don't", ["don", "t"]),
]


@pytest.mark.parametrize(("text", "expected"), [w[1:] for w in WORDS], ids=[w[0] for w in WORDS])
def test_words(text: str, expected: list[str]) -> None:
    assert list(words(text)) == expected


def test_words_of_several_texts_come_in_order_and_once() -> None:
    assert words("b a", "", "c a") == ("b", "a", "c")
    assert words() == ()


def test_split_keeps_what_is_repeated() -> None:
    assert list(split("a b a")) == ["a", "b", "a"]


@pytest.mark.parametrize("letter", ["a", "ü", "年", "😀b"])
def test_a_long_word_is_cut(letter: str) -> None:
    (word,) = words(letter.removeprefix("😀") * 100)
    assert len(word) == MAX_WORD_CHARS
    assert words(word) == (word,), "whoever searches for what was cut finds it"


@pytest.mark.parametrize("sign", ["", "é"])
def test_the_first_words_are_kept(sign: str) -> None:
    found = words(" ".join(f"{sign}w{number}" for number in range(100)))
    assert found == tuple(f"{sign}w{number}" for number in range(MAX_WORDS))


ODD = st.text(
    st.characters() | st.sampled_from("aA1 \u0301\u0316\u0345\u0344\u05b0ﷺ½ΐǰßİ가\u1100\u1161\u11a8Ⓐ㎏-_*\ufe0f\u200d"),
    max_size=300,
)


@given(st.lists(ODD, max_size=4))
def test_words_are_bounded_distinct_folded_and_their_own_words(texts: list[str]) -> None:
    found = words(*texts)
    assert len(found) <= MAX_WORDS
    assert len(set(found)) == len(found)
    for word in found:
        assert 1 <= len(word) <= MAX_WORD_CHARS
        assert unicodedata.category(word[0])[0] in "LN"
        assert {unicodedata.category(char)[0] for char in word} <= set("LNM")
        assert words(word) == (word,)


@given(ODD)
@example("\u1fb3\u0301")
@example("\u0345\u0301a")
@example("İ")
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=60))
def test_case_and_form_make_no_difference(text: str) -> None:
    folded = words(text)
    assert words(unicodedata.normalize("NFC", text)) == folded
    assert words(unicodedata.normalize("NFD", text)) == folded
    assert words(text.casefold()) == folded


def test_every_character_alone_gives_words_that_are_their_own() -> None:
    for code in range(0x110000):
        for word in split(chr(code)):
            assert words(word) == (word,), f"U+{code:04X}"


COSTLY = {
    "one-letter-words": "a " * 4096,
    "one-word": "é" * 4096,
    "expanding": "ﷺ" * 2730,
    "expanding-words": "ﷺ " * 2048,
    "marks-out-of-order": "a" + "\u0301\u0316" * 2048,
    "marks-in-runs": ("a" + "\u0301" * 60 + "\u0316" * 60 + " ") * 33,
    "marks-alone": "\u0301\u0316" * 2048,
    "folding-to-three": "ΐ" * 4096,
    "hangul": "\u1100\u1161\u11a8" * 910,
}


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY.keys())
def test_the_longest_texts_take_milliseconds(text: str) -> None:
    took = []
    for _ in range(3):
        began = time.process_time()
        words(text)
        took.append(time.process_time() - began)
    assert min(took) < 0.1


def test_text_far_beyond_the_longest_costs_nothing_more() -> None:
    text, took = "a " * 5_000_000, []
    for _ in range(3):
        began = time.process_time()
        words(text)
        took.append(time.process_time() - began)
    assert min(took) < 0.5


def test_terms_of_a_link() -> None:
    assert link_terms(
        "Spring-Sale", "Annual Report", "https://www.Shop.example:8080/a%20b/C?q=secret#hidden", ["Spring sale", "x"]
    ) == (
        "#Spring sale",
        "#x",
        *("=spring", "=sale", "=annual", "=report", "=shop", "=example", "=a", "=b", "=c"),
    )


URLS = [
    ("host-only", "https://a.example", ["a", "example"]),
    ("capitals-and-final-dot", "HTTPS://A.Example./X", ["a", "example", "x"]),
    ("www-within-the-host", "https://a.www.example", ["a", "www", "example"]),
    ("www-alone", "https://www.example", ["example"]),
    ("query-right-after-the-host", "https://a.example?token=1", ["a", "example"]),
    ("fragment-right-after-the-host", "https://a.example#token=1", ["a", "example"]),
    ("question-mark-in-the-fragment", "https://a.example/p#x?y", ["a", "example", "p"]),
    ("a-label", "https://xn--mnchen-3ya.example", ["xn", "mnchen", "3ya", "example", "münchen"]),
    ("a-label-in-capitals", "https://XN--MNCHEN-3YA.example", ["xn", "mnchen", "3ya", "example", "münchen"]),
    ("no-punycode", "https://xn--99999999.example", ["xn", "99999999", "example"]),
    ("punycode-of-no-character", "https://xn--99999999a.example", ["xn", "99999999a", "example"]),
    ("ipv4", "http://192.0.2.1/", ["192", "0", "2", "1"]),
    ("ipv6", "http://[2001:db8::1]:80/", ["2001", "db8", "1"]),
    ("percent-encoded", "https://a.example/%C3%BCber%2Fx", ["a", "example", "über", "x"]),
    ("bytes-that-are-no-utf-8", "https://a.example/ab%FFcd%E2%82", ["a", "example", "ab", "cd"]),
    ("percent-that-encodes-nothing", "https://a.example/100%/%zz", ["a", "example", "100", "zz"]),
    ("encoded-query-sign", "https://a.example/a%3Fb", ["a", "example", "b"]),
    ("raw-unicode", "https://a.example/Straße", ["a", "example", "strasse"]),
    ("user", "https://me:secret@a.example/", ["a", "example"]),
    ("no-url", "not a url", []),
    ("empty", "", []),
]


@pytest.mark.parametrize(("url", "expected"), [u[1:] for u in URLS], ids=[u[0] for u in URLS])
def test_words_of_a_url(url: str, expected: list[str]) -> None:
    assert link_terms("", "", url, []) == tuple(map(word_term, expected))


def test_a_long_path_pushes_neither_title_nor_code_nor_host_out() -> None:
    path = "/".join(f"p{number}" for number in range(1000))
    terms = link_terms("my-code", "My title", f"https://host.example/{path}", ["t"])
    assert terms[:8] == ("#t", "=my", "=code", "=title", "=host", "=example", "=p0", "=p1")
    assert len(terms) == 1 + MAX_WORDS


def test_a_tag_is_no_word_and_keeps_its_case() -> None:
    terms = link_terms("", "report", "", ["Report", "report", "Report"])
    assert terms == ("#Report", "#report", "=report")
    assert tag_term("a") != word_term("a")


@given(ODD, ODD, ODD, st.lists(st.text(min_size=1, max_size=50), max_size=20))
def test_terms_fit_the_index(code: str, title: str, rest: str, tags: list[str]) -> None:
    terms = link_terms(code, title, f"https://{rest}", tags)
    assert len(terms) <= MAX_WORDS + len(tags)
    assert len(set(terms)) == len(terms), "a link has a term once"
    assert all(2 <= len(term) <= 65 for term in terms)
    found = [term[1:] for term in terms if term.startswith("=")]
    assert set(words(code)) <= set(found)
    assert set(terms) >= {tag_term(tag) for tag in tags}
