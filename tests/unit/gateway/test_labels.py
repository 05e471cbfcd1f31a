"""Titles and tags: what people write is kept, what deceives the eye or breaks lines is refused by field."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.labels import MAX_TAG_CHARS, MAX_TAGS, MAX_TITLE_CHARS, tags_of, title_of
from waypost.errors import InvalidFields

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
FAMILY = "👨\u200d👩\u200d👧"

# Format characters by category that are drawn, or that a script cannot be written without.
DRAWN_FORMATS = {
    *"\u200c\u200d",
    *map(chr, range(0x600, 0x606)),
    *"\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd",
    *map(chr, range(0x13430, 0x13460)),
}
FORMATS = sorted({char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(char) == "Cf"})
UNFIT = sorted(
    {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x3164, 0xFFA0)}
    | set(map(chr, (0xD800, 0xDBFF, 0xDC00, 0xDFFF)))
    | (set(FORMATS) - DRAWN_FORMATS)
)


def title_refusal(text: str) -> str:
    with pytest.raises(InvalidFields) as caught:
        title_of(text)
    (violation,) = caught.value.violations
    assert violation.field == "title"
    assert violation.description.isascii()
    assert violation.description.isprintable()
    return violation.description


def tags_refusal(*tags: str) -> dict[str, str]:
    with pytest.raises(InvalidFields) as caught:
        tags_of(tags)
    found = {violation.field: violation.description for violation in caught.value.violations}
    assert len(found) == len(caught.value.violations)
    assert all(sentence.isascii() and sentence.isprintable() for sentence in found.values())
    return found


KEPT = [
    ("plain", "Spring sale"),
    ("markup-is-text", "<img src=x onerror=alert(1)>"),
    ("formula-is-text", '=HYPERLINK("https://evil.example")'),
    ("quotes-and-backslash", '"it\'s" \\ `x`'),
    ("composed", "caf\u00e9"),
    ("decomposed", "cafe\u0301"),
    ("right-to-left-script", "عنوان الصفحة"),
    ("persian-with-non-joiner", "می\u200cخواهم"),
    ("hindi-with-joiner", "क्\u200dष"),
    ("emoji-with-joiners", FAMILY),
    ("emoji-with-variation-selector", "❤\ufe0f"),
    ("flag-of-two-letters", "🇳🇴"),
    ("flag-of-tag-characters", ENGLAND),
    ("arabic-number-sign", "\u0600١٢"),
    ("many-accents", "z\u0351\u036b\u0343\u036a"),
    ("no-break-space-within", "10\u00a0km"),
    ("beyond-the-basic-plane", "𠜎𠜱"),
    ("private-use", "\ue000"),
    ("two-flags", ENGLAND * 2),
]


@pytest.mark.parametrize("text", [k[1] for k in KEPT], ids=[k[0] for k in KEPT])
def test_what_people_write_is_kept(text: str) -> None:
    assert title_of(text) == text
    assert tags_of([text]) == (unicodedata.normalize("NFC", text),)


@pytest.mark.parametrize("char", UNFIT, ids=[f"U+{ord(char):04X}" for char in UNFIT])
def test_controls_halves_and_invisible_characters_are_refused_wherever_they_stand(char: str) -> None:
    for text, place in ((char, 1), (f"{char}a", 1), (f"a{char}b", 2), (f"ab{char}", 3), (f"{FAMILY}{char}", 6)):
        name = f"U+{ord(char):04X}"
        assert name in title_refusal(text)
        assert f"at position {place}" in title_refusal(text)
        assert name in tags_refusal("good", text)["tags[1]"]


@pytest.mark.parametrize("char", sorted(DRAWN_FORMATS), ids=lambda char: f"U+{ord(char):04X}")
def test_format_characters_that_writing_needs_are_kept(char: str) -> None:
    assert title_of(f"a{char}b") == f"a{char}b"
    assert tags_of([f"a{char}b"]) == (f"a{char}b",)


@pytest.mark.parametrize(
    "text",
    [
        ENGLAND[1:],
        ENGLAND[:-1],
        ENGLAND[0] + ENGLAND[-1],
        ENGLAND[0] + ENGLAND[1] * 7 + ENGLAND[-1],
        ENGLAND + "\U000e0067",
    ],
    ids=["no-flag-before", "no-end", "empty", "too-long", "after-the-end"],
)
def test_tag_characters_hide_nothing_outside_of_a_flag(text: str) -> None:
    assert "invisible character U+E00" in title_refusal(text)


def test_a_title_loses_the_spaces_around_it() -> None:
    assert title_of("  a  b\u00a0\u3000") == "a  b"
    assert title_of(" ") == title_of("") == ""


@pytest.mark.parametrize("char", ["a", "é", "日", "👩"])
def test_a_title_has_256_characters_at_most(char: str) -> None:
    longest = char * MAX_TITLE_CHARS
    assert title_of(f" {longest} ") == longest
    assert title_refusal(longest + char) == "has 257 characters: shorten it to 256"
    assert "1,000,000 characters" in title_refusal(char * 1_000_000)


def test_a_title_is_told_all_that_is_wrong_with_it() -> None:
    sentence = title_refusal("a\0" * 200)
    assert "U+0000 at position 2" in sentence
    assert "400 characters" in sentence


def test_tags_keep_their_order_and_count_once_each() -> None:
    assert tags_of(["b", "a", "b", "B", "a"]) == ("b", "a", "B")
    assert tags_of([]) == ()


def test_tags_that_differ_in_unicode_form_only_are_one() -> None:
    assert tags_of(["cafe\u0301", "caf\u00e9", "\u1112\u1161\u11ab", "한"]) == ("caf\u00e9", "한")


def test_tags_may_have_spaces_and_odd_signs_within() -> None:
    odd = ("spring sale", "a  b", "a;b", "#1", 'the "best"', "a=b", "x:y", "50 %", "-", "\\")
    assert tags_of(odd) == odd


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("", "is empty"),
        (" ", "begins or ends with a space"),
        (" a", "begins or ends with a space"),
        ("a ", "begins or ends with a space"),
        ("a\u3000", "begins or ends with a space"),
        ("\u00a0a", "begins or ends with a space"),
        ("a,b", "comma"),
        (",", "comma"),
        ("a" * 51, "51 characters: shorten it to 50"),
        ("a" * 100_000, "100,000 characters"),
        ("\u0344" * 26, "52 characters"),
        ("a\nb", "U+000A"),
        ("a\ud800", "half of a character, U+D800, at position 2"),
    ],
    ids=str,
)
def test_a_bad_tag_is_named_by_its_place(tag: str, why: str) -> None:
    assert why in tags_refusal("good", tag, "fine")["tags[1]"]


@pytest.mark.parametrize(
    "tag", ["a" * 50, "é" * 50, "e\u0301" * 50, "\u1112\u1161\u11ab" * 50, "\u03b1\u0313\u0300\u0345" * 50]
)
def test_a_tag_has_50_characters_at_most_in_the_form_that_is_stored(tag: str) -> None:
    (stored,) = tags_of([tag])
    assert len(stored) == MAX_TAG_CHARS
    assert (
        "51 characters" in tags_refusal(tag + "a")["tags[0]"] or "201 characters" in tags_refusal(tag + "a")["tags[0]"]
    )


def test_nothing_that_fits_is_too_long_to_be_normalised() -> None:
    composed = (char for char in map(chr, range(sys.maxunicode + 1)) if unicodedata.is_normalized("NFC", char))
    assert max(len(unicodedata.normalize("NFD", char)) for char in composed) == 4


def test_20_different_tags_at_most() -> None:
    twenty = [f"tag {number}" for number in range(MAX_TAGS)]
    assert tags_of(twenty * 3) == tuple(twenty)
    assert tags_refusal(*twenty, "one more") == {"tags": "has 21 different tags: give 20 at most"}
    assert "1,000 different tags" in tags_refusal(*map(str, range(1000)))["tags"]
    assert tags_refusal(*["same"] * 1001) == {"tags": "has 1,001 tags: give 20 at most"}


def test_every_bad_tag_is_named_beside_their_number() -> None:
    many = [f"tag {number}" for number in range(MAX_TAGS + 1)]
    found = tags_refusal("a,b ", *many, "")
    assert found.keys() == {"tags[0]", "tags[22]", "tags"}
    assert "comma" in found["tags[0]"]
    assert "space" in found["tags[0]"]


def test_thousands_of_bad_tags_get_a_short_answer() -> None:
    assert tags_refusal(*["a,b"] * 1000).keys() == {f"tags[{place}]" for place in range(MAX_TAGS)}


TEXTS = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.characters(categories=["Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn"]),
        st.sampled_from([*"aé ,\u0301\u200d👩\u0344", ENGLAND[0], *ENGLAND]),
    ),
    max_size=300,
)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_every_title_taken_is_settled_and_harmless(text: str) -> None:
    try:
        title = title_of(text)
    except InvalidFields as error:
        assert [violation.field for violation in error.violations] == ["title"]
        return
    assert title_of(title) == title == text.strip()
    assert len(title) <= MAX_TITLE_CHARS
    _assert_harmless(title)


@given(st.lists(st.one_of(TEXTS, st.sampled_from(["a", "b", "cafe\u0301", "caf\u00e9"])), max_size=25))
@settings(max_examples=300, deadline=None)
def test_all_tags_taken_are_settled_and_harmless(given_tags: list[str]) -> None:
    try:
        tags = tags_of(given_tags)
    except InvalidFields as error:
        fields = [violation.field for violation in error.violations]
        assert len(fields) == len(set(fields))
        assert set(fields) <= {"tags", *(f"tags[{place}]" for place in range(len(given_tags)))}
        return
    assert tags_of(tags) == tags
    assert list(tags) == list(dict.fromkeys(unicodedata.normalize("NFC", tag) for tag in given_tags))
    assert len(tags) <= MAX_TAGS
    for tag in tags:
        assert 1 <= len(tag) <= MAX_TAG_CHARS
        assert tag.strip() == tag
        assert "," not in tag
        _assert_harmless(tag)


@given(st.lists(TEXTS, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_tags_are_judged_each_by_itself(given_tags: list[str]) -> None:
    bad = []
    for place, tag in enumerate(given_tags):
        try:
            tags_of([tag])
        except InvalidFields:
            bad.append(f"tags[{place}]")
    try:
        tags_of(given_tags)
    except InvalidFields as error:
        assert [violation.field for violation in error.violations] == bad
    else:
        assert not bad


def _assert_harmless(text: str) -> None:
    text.encode()
    for char in text.replace(ENGLAND, ""):
        assert unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.category(char) != "Cf" or char in DRAWN_FORMATS
