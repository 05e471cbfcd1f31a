"""Bad and odd input to the fields of a link, class by class: what each field refuses, and what it takes and how."""

from __future__ import annotations

import random
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codes import ALPHABET, MIN_LENGTH, CodeSource, check_alias, is_code
from gateway.docs import docs_routes
from gateway.intake import Intake
from gateway.redirects import NOT_FOUND
from gateway.requests import Content, CreateLink
from gateway.rules import LinkRules
from gateway.words import is_offensive_code, is_reserved
from tests.support.visitors import MemoryRedirectReader, StandingClock, visitors
from waypost.errors import InvalidFields
from waypost.model import DEFAULT_WORKSPACE, NewLink

GOOD = "https://example.com/"
RULES = LinkRules(Intake(["go.waypost.example"]), StandingClock())

CAPITALS = (str.lower, str.upper, str.title, str.swapcase, lambda word: word[:1] + word[1:].upper())


def new_link(url: str = GOOD, alias: str = "", title: str = "", tags: tuple[str, ...] = (), **more: object) -> NewLink:
    return RULES.new_link(CreateLink(Content(url=url, title=title, tags=tags, **more), alias), DEFAULT_WORKSPACE)  # type: ignore[arg-type] # anything a caller may send


def bad_fields(**fields: object) -> dict[str, str]:
    with pytest.raises(InvalidFields) as caught:
        new_link(**fields)  # type: ignore[arg-type]
    found = {violation.field: violation.description for violation in caught.value.violations}
    assert len(found) == len(caught.value.violations)
    for sentence in found.values():
        # It reaches headers, logs, pages and terminals.
        assert sentence
        assert sentence.isascii()
        assert sentence.isprintable()
    return found


async def leads_nowhere(code: str) -> bool:
    """Whether a redirect of this code is answered 404 without any store being asked."""
    reader = MemoryRedirectReader()
    handlers = visitors(reader, StandingClock())
    answers = await handlers.follow(code), await handlers.look(code), await handlers.preview(code)
    return answers == (NOT_FOUND, NOT_FOUND, None) and reader.asked == []


# Aliases.

SERVED = [
    "api", "admin", "healthz", "readyz", "livez", "metrics", "docs", "openapi.json", "favicon.ico", "robots.txt",
    "sitemap.xml", "security.txt", "humans.txt", ".well-known", "well-known", "static", "assets", "dashboard", "login",
    "apple-app-site-association", "www", "waypost", "sw.js",
]  # fmt: skip


@pytest.mark.parametrize("word", SERVED)
def test_an_alias_never_takes_the_place_of_a_page_in_whatever_capitals(word: str) -> None:
    for capitals in CAPITALS:
        assert bad_fields(alias=capitals(word)) == {"alias": "is a reserved word: choose another alias"}


def test_the_addresses_of_the_documentation_are_reserved_or_could_be_no_alias() -> None:
    firsts = {route.path.split("/")[1] for route in docs_routes()}
    assert {"docs", "openapi.json"} <= firsts
    assert all(is_reserved(first) or not is_code(first) for first in firsts)


PATHS = [
    ("parent-folder", ".."),
    ("this-folder", "."),
    ("beyond-the-parent", "../x"),
    ("encoded-parent", "%2e%2e%2f"),
    ("encoded-slash", "a%2Fb"),
    ("slash", "a/b"),
    ("backslash", "a\\b"),
    ("slash-at-the-end", "abc/"),
    ("encoded-nul", "a%00b"),
    ("nul", "a\0b"),
    ("line-feed-at-the-end", "abcdefg\n"),
    ("header-injection", "abc\r\nset-cookie: x=1"),
    ("leading-underscore", "_internal"),
    ("leading-hyphen", "-rf"),
    ("dot-file", ".env"),
    ("file-name", "index.php"),
    ("query", "abc?x"),
    ("fragment", "abc#x"),
    ("matrix-parameter", "abc;x=1"),
    ("preview-sign", "abcdefg+"),
    ("final-dot", "abcdefg."),
    ("space", "abc def"),
    ("space-at-the-end", "abcdefg "),
    ("at", "a@b"),
    ("colon", "abc:undelete"),
    ("star", "abc*"),
    ("quote", "abc'--"),
    ("markup", "<img src=x onerror=alert(1)>"),
    ("formula", "=1+1"),
    ("one-character", "a"),
    ("two-characters", "ab"),
    ("65-characters", "a" * 65),
    ("a-megabyte", "a" * 2**20),
    ("accent-composed", "caf\u00e9s"),
    ("accent-decomposed", "cafe\u0301s"),
    ("roman-numeral-one", "abc\u2170"),
    ("ligature", "\ufb01rst"),
    ("fullwidth", "ａｂｃｄ"),
    ("long-s", "\u017fale"),
    ("dotless-i", "l\u0131nk"),
    ("capital-dotted-i", "\u0130nfo"),
    ("kelvin-sign", "\u212aelvin"),
    ("mathematical-bold", "𝐚𝐛𝐜𝐝"),
    ("circled", "ⓐⓑⓒⓓ"),
    ("cyrillic-look-alike", "\u0430\u0440\u0440\u04cf\u0435"),
    ("other-digits", "١٢٣٤"),
    ("emoji", "👍👍👍"),
    ("emoji-with-joiners", "👩\u200d💻👩\u200d💻"),
    ("zero-width-space", "abc\u200bdef"),
    ("right-to-left-override", "abc\u202edef"),
    ("byte-order-mark", "\ufeffabcdef"),
    ("half-a-character", "abc\ud800def"),
    ("only-hyphens", "---"),
    ("only-underscores", "___"),
]  # fmt: skip


@pytest.mark.parametrize("alias", [path[1] for path in PATHS], ids=[path[0] for path in PATHS])
async def test_what_is_no_plain_word_is_no_alias_and_its_redirect_finds_nothing(alias: str) -> None:
    assert bad_fields(alias=alias).keys() == {"alias"}
    assert await leads_nowhere(alias)


async def test_no_code_at_all_finds_nothing() -> None:
    # As an alias it means: draw one.
    assert new_link(alias="").short_code == ""
    assert await leads_nowhere("")


@pytest.mark.parametrize(
    ("one", "other"),
    [("caf\u00e9s", "cafe\u0301s"), ("\ufb01rst", "first"), ("abc\u2170", "abci"), ("\u212aelvin", "kelvin")],
    ids=["composed-and-decomposed", "ligature", "roman-numeral", "kelvin-sign"],
)
def test_no_two_aliases_become_one_by_unicode_normalisation(one: str, other: str) -> None:
    # Of characters that have another form none is taken, so every alias is its own normal form.
    assert unicodedata.normalize("NFKC", one).casefold() == unicodedata.normalize("NFKC", other).casefold()
    assert bad_fields(alias=one).keys() == {"alias"}


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{2,63}", fullmatch=True))
@settings(max_examples=200)
def test_an_alias_is_stored_as_it_was_given_and_has_one_form_only(alias: str) -> None:
    try:
        check_alias(alias)
    except InvalidFields:
        return
    assert new_link(alias=alias).short_code == alias
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert unicodedata.normalize(form, alias) == alias
    # PostgreSQL's lower() and Python's agree on these in every locale.
    assert alias.lower() == "".join(chr(ord(char) | 0x20) if "A" <= char <= "Z" else char for char in alias)


@pytest.mark.parametrize("alias", ["l1I0O", "1lI", "0Oo", "rn-m", "vv-w", "Abc", "abc", "ABC"])
def test_look_alikes_among_ascii_letters_are_the_owners_choice(alias: str) -> None:
    # Whoever chooses a word may want it; only what differs in letters' case alone counts as one, when it is stored.
    assert new_link(alias=alias).short_code == alias


def test_no_code_that_is_drawn_has_a_look_alike() -> None:
    drawn = "".join(next(CodeSource().candidates()) for _ in range(500))
    assert set(drawn) <= set(ALPHABET)
    assert not set(drawn) & set("0Oo1Il")


WORDS = ["fuck", "shit", "cunt", "nazi", "porn", "bitch", "faggot", "nigger", "whore", "pedo", "kike", "rape"]
LEET = {"o": "0", "i": "1", "l": "1", "e": "3", "a": "4", "s": "5", "t": "7", "b": "8", "g": "9"}


@given(st.sampled_from(WORDS), st.randoms(use_true_random=False), st.integers(0, 3))
@settings(max_examples=300)
def test_no_drawn_code_says_a_profane_word_in_any_spelling(word: str, chance: random.Random, place: int) -> None:
    letters = [chance.choice([char, char.upper(), LEET.get(char, char)]) for char in word]
    filler = [chance.choice("XZQ2") for _ in range(MIN_LENGTH)]
    code = "".join([*filler[:place], *letters, *filler[place:]])
    assert is_offensive_code(code)
    codes = iter([code, "Gd2Cde7"])
    assert next(CodeSource(draw=lambda _: next(codes)).candidates()) == "Gd2Cde7"


# All fields together.

TEXTS = [
    ("nul", "\0"),
    ("control", "a\x1bb"),
    ("c1-control", "a\x85b"),
    ("line-break", "a\nb"),
    ("line-separator", "a\u2028b"),
    ("half-a-character", "a\ud800"),
    ("right-to-left-override", "a\u202egpj.exe"),
    ("isolate", "\u2066a\u2069"),
    ("zero-width-space", "a\u200bb"),
    ("byte-order-mark", "\ufeffa"),
    ("hidden-text", "a" + "".join(chr(0xE0000 + ord(char)) for char in "hidden")),
    ("far-too-long", "a" * 2**20),
]  # fmt: skip


@pytest.mark.parametrize("text", [text[1] for text in TEXTS], ids=[text[0] for text in TEXTS])
def test_every_field_of_text_refuses_what_no_text_should_have_and_all_are_named(text: str) -> None:
    # In a path, formats are what they are: percent-encoded in the header, they deceive nobody.
    host = "https://" + text.replace("\n", "\r\n") + ".example/"
    found = bad_fields(url=host, alias=text, title=text, tags=("good", text))
    assert found.keys() == {"url", "alias", "title", "tags[1]"}


def test_everything_wrong_is_named_at_once() -> None:
    found = bad_fields(
        url="javascript:alert(1)",
        alias="api",
        title="\0",
        tags=("a,b", " c", *map(str, range(21))),
        expires_at=datetime(1970, 1, 1, tzinfo=UTC),
        max_clicks=-1,
        redirect_status=200,
    )
    assert found.keys() == {
        *("url", "alias", "title", "tags[0]", "tags[1]", "tags", "expires_at", "max_clicks", "redirect_status")
    }


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "</title><script>",
        '=HYPERLINK("https://evil.example")',
        "+1",
        "@x",
        "{{7*7}}",
        "%s%n",
    ],
)
def test_titles_and_tags_are_text_to_be_escaped_where_it_is_shown_not_refused(text: str) -> None:
    link = new_link(title=text, tags=(text,))
    assert (link.title, link.tags) == (text, (text,))


@pytest.mark.parametrize("ttl", [0, -1, 315_360_001, 2**31 - 1, -(2**31)])
def test_a_life_of_no_or_too_many_seconds_is_refused(ttl: int) -> None:
    assert bad_fields(ttl_seconds=ttl).keys() == {"ttl_seconds"}


@pytest.mark.parametrize("year", [1, 1970, 2025, 9999])
def test_an_end_in_the_past_or_at_the_end_of_time_is_refused(year: int) -> None:
    assert bad_fields(expires_at=datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)).keys() == {"expires_at"}


@pytest.mark.parametrize("clicks", [-1, -(2**31), 1_000_000_001, 2**31 - 1])
def test_a_number_of_clicks_below_none_or_above_the_limit_is_refused(clicks: int) -> None:
    assert bad_fields(max_clicks=clicks).keys() == {"max_clicks"}


@pytest.mark.parametrize("status", [-1, 1, 200, 300, 303, 304, 305, 306, 309, 404, 2**31 - 1])
def test_what_is_no_redirect_is_no_redirect_status(status: int) -> None:
    assert bad_fields(redirect_status=status).keys() == {"redirect_status"}
