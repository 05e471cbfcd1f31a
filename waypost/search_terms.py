"""What links are found by: the words of their texts and their tags, as the terms that the index of links holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from urllib.parse import unquote

MAX_WORDS = 64
"""Most distinct words of a link, and of what is searched for."""

MAX_WORD_CHARS = 64
"""Characters of a word; longer ones are cut, in links and in searches alike."""

MAX_TEXT_CHARS = 9_000
"""Characters of a text that are looked at: more than the longest URL has."""

MAX_FOLDED_CHARS = 4_096
"""Characters that are folded of a text that is not ASCII: some become eighteen, and it takes its time."""

WORD_MARK = "="
TAG_MARK = "#"
"""The first character of each term, so that a word is never taken for a tag."""

_ASCII_WORD = re.compile("[a-z0-9]+")
# What stands between characters of ASCII that are in no word. Composing makes one of four characters at most.
_PIECE = re.compile(r"[^\x00-/:-@\[-`{-\x7f]+")
_MAX_PIECE_CHARS = 4 * MAX_WORD_CHARS
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)([^?#]*)")
_PORT = re.compile(r":[0-9]*\Z")


def words(*texts: str) -> tuple[str, ...]:
    """The first `MAX_WORDS` distinct words of the texts, in order of first occurrence; see `split`."""
    found: dict[str, None] = {}
    for word in chain.from_iterable(map(split, texts)):
        found[word] = None
        if len(found) == MAX_WORDS:
            break
    return tuple(found)


def split(text: str) -> Iterator[str]:
    """Every word of the text in order: letters, digits and marks of any script, without regard to case and form.

    A word begins with a letter or a digit; a mark before it belongs to a character that is none. Words of a word are
    the word itself, so what was found is found again.
    """
    text = text[:MAX_TEXT_CHARS]
    if text.isascii():
        for match in _ASCII_WORD.finditer(text.lower()):
            yield match.group()[:MAX_WORD_CHARS]
        return
    left = MAX_FOLDED_CHARS
    for match in _PIECE.finditer(text):
        # Short pieces: a long run of marks would cost the square of its length.
        piece = fold(match.group()[:_MAX_PIECE_CHARS])
        yield from _words_of_folded(piece)
        left -= len(piece)
        if left <= 0:
            return


def fold(text: str) -> str:
    """The text without differences of case and of compatible forms; folding it again changes nothing."""
    # Twice, as in Unicode 3.13, D146: each of the two brings forth characters that the other one changes.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.casefold()).casefold())


def word_term(word: str) -> str:
    """The term of a word, or the beginning of the terms of all words that begin so."""
    return WORD_MARK + word


def tag_term(tag: str) -> str:
    """The term of a tag: told apart by case, in form NFC."""
    return TAG_MARK + tag


def link_terms(short_code: str, title: str, url: str, tags: Sequence[str]) -> tuple[str, ...]:
    """The terms of a link: one for each tag, and at most `MAX_WORDS` for its words.

    Words are those of its short code, its title, its host (in letters of its own, too) and its path. Query and fragment
    may hold secrets and are left out. What comes first in this list is not pushed out by what comes later.
    """
    found = words(short_code, title, *_host_and_path(url))
    return (*dict.fromkeys(map(tag_term, tags)), *map(word_term, found))


def _words_of_folded(text: str) -> Iterator[str]:
    start = -1
    for place, char in enumerate(text):
        kind = unicodedata.category(char)[0]
        if kind in "LN":
            start = place if start < 0 else start
        elif kind != "M" and start >= 0:
            yield text[start : min(place, start + MAX_WORD_CHARS)]
            start = -1
    if start >= 0:
        yield text[start : start + MAX_WORD_CHARS]


def _host_and_path(url: str) -> Iterator[str]:
    """The texts of a URL whose words are looked for."""
    parts = _AUTHORITY.match(url)
    if parts is None:
        return
    host = _PORT.sub("", parts[1].rpartition("@")[2]).lower().removeprefix("www.")
    yield host
    yield " ".join(map(_decoded, host.split(".")))
    # Bytes that are no UTF-8 become a character that is in no word, so what stands around them is found all the same.
    yield unquote(parts[2], errors="replace")


def _decoded(label: str) -> str:
    """A label of a host in its own script; empty if it has none."""
    if not label.startswith("xn--") or len(label) > MAX_WORD_CHARS:
        return ""
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return ""
