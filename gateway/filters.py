"""Reads what ListLinks is asked for: filter, order and page size. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, NoReturn

from gateway.labels import MAX_TAG_CHARS
from waypost.errors import InvalidFields
from waypost.listing import LinkFilter, Order, OrderField
from waypost.model import LinkState
from waypost.search_terms import split

MAX_FILTER_BYTES = 1024
MAX_TAGS = 5
MAX_TEXTS = 5
MAX_TEXT_WORDS = 10
"""Words and beginnings of words of all `text` conditions together: each costs a look into the index for each link."""

MIN_PREFIX_CHARS = 2

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500

_TOKEN = re.compile(
    r"""(?P<space>[ ]+)
      | (?P<quoted>"(?:[^"\\]|\\["\\])*")
      | (?P<operator>[<>]=?|[=:])
      | (?P<bare>[^\s"()=<>:]+)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r'\\(["\\])')
_BACKSLASH = re.compile(r"\\(.?)")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_MICROSECOND = timedelta(microseconds=1)

_ORDERS = {str(order): order for field in OrderField for order in (Order(field, descending=True), Order(field, False))}


class _Token(NamedTuple):
    """A piece of the filter: its kind (as in `_TOKEN`), its text as written, its place (1 is the first character)."""

    kind: str
    text: str
    place: int


def parse_filter(text: str) -> LinkFilter:
    """The filter that the text asks for. Raises `InvalidFields` for the field `filter`."""
    return _Parser(_tokens(text)).parse()


def parse_order(text: str) -> Order:
    """The order that `order_by` names; the newest first if it is empty. Raises `InvalidFields`."""
    name = " ".join(text.split())
    if not name:
        return Order()
    if name not in _ORDERS:
        raise InvalidFields.one("order_by", f"is one of {_listed(_ORDERS)} (absent: {Order()})")
    return _ORDERS[name]


def page_size(size: int) -> int:
    """How many links a page has at most. Raises `InvalidFields` if `size` is negative."""
    if size < 0:
        raise InvalidFields.one("page_size", f"must not be negative: give 1 to {MAX_PAGE_SIZE}, or 0 for the default")
    return min(size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


class _Parser:
    """Conditions joined by AND: a field, an operator and a value each."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = tokens[-1].place + len(tokens[-1].text) if tokens else 1
        self._state: LinkState | None = None
        self._tags: dict[str, None] = {}
        self._from: datetime | None = None
        self._before: datetime | None = None
        self._texts = 0
        self._words: dict[str, None] = {}
        self._prefixes: dict[str, None] = {}
        self._fields: dict[str, tuple[tuple[str, ...], Callable[[str, str, int], None]]] = {
            "state": (("=",), self._take_state),
            "tag": (("=",), self._take_tag),
            "created_at": ((">=", ">", "<", "<="), self._take_created_at),
            "text": ((":",), self._take_text),
        }

    def parse(self) -> LinkFilter:
        while self._next < len(self._tokens):
            self._condition()
            if self._next < len(self._tokens):
                self._joint()
        return LinkFilter(
            self._state, tuple(self._tags), self._from, self._before, tuple(self._words), tuple(self._prefixes)
        )

    def _condition(self) -> None:
        field = self._take("a condition such as state = active")
        if field.kind != "bare" or field.text not in self._fields:
            _refuse(field.place, f"{_shown(field.text)} is no field: the fields are {_listed(self._fields)}")
        operators, take = self._fields[field.text]
        operator = self._take(f"{_listed(operators)} after {field.text}")
        if operator.kind != "operator" or operator.text not in operators:
            _refuse(operator.place, f"{field.text} is followed by {_listed(operators)}, not by {_shown(operator.text)}")
        value = self._take(f"a value after {operator.text}")
        if value.kind == "operator":
            _refuse(value.place, f'a value belongs after {operator.text}: put it in quotes if it has one of "()=<>:')
        text = _ESCAPE.sub(r"\1", value.text[1:-1]) if value.kind == "quoted" else value.text
        take(operator.text, text, value.place)

    def _joint(self) -> None:
        joint = self._tokens[self._next]
        if joint.kind != "bare" or joint.text.lower() != "and":
            _refuse(
                joint.place,
                f"AND belongs between two conditions, not {_shown(joint.text)}: put a value with spaces in quotes",
            )
        self._next += 1
        if self._next == len(self._tokens):
            _refuse(self._end, "a condition is missing after AND: add it, or leave out the AND")

    def _take(self, wanted: str) -> _Token:
        if self._next == len(self._tokens):
            _refuse(self._end, f"the filter ends where it needs {wanted}")
        self._next += 1
        return self._tokens[self._next - 1]

    def _take_state(self, _: str, value: str, place: int) -> None:
        if self._state is not None:
            _refuse(place, "a second state: a link has one at a time, so ask for one")
        if value not in set(LinkState):
            _refuse(place, f"{_shown(value)} is no state: the states are {_listed(LinkState)}")
        self._state = LinkState(value)

    def _take_tag(self, _: str, value: str, place: int) -> None:
        tag = unicodedata.normalize("NFC", value)
        if not 1 <= len(tag) <= MAX_TAG_CHARS:
            _refuse(place, f"a tag has 1 to {MAX_TAG_CHARS} characters, this one has {len(tag)}")
        if "," in tag:
            _refuse(place, "tags have no commas: ask for each tag in a condition of its own, joined by AND")
        if tag != tag.strip():
            _refuse(place, "tags have no spaces at their ends: leave them out")
        self._tags[tag] = None
        if len(self._tags) > MAX_TAGS:
            _refuse(place, f"more than {MAX_TAGS} tags: ask for fewer")

    def _take_created_at(self, operator: str, value: str, place: int) -> None:
        at, exact = _instant(value, place)
        # Links know microseconds: a bound between two of them is as good as the later one.
        try:
            bound = at if exact and operator in (">=", "<") else at + _MICROSECOND
        except OverflowError:
            _refuse(place, f"{_shown(value)} is the end of time: give an earlier one")
        if operator.startswith(">"):
            if self._from is not None:
                _refuse(place, "a second earlier bound of created_at: give one with > or >= and one with < or <=")
            self._from = bound
        else:
            if self._before is not None:
                _refuse(place, "a second later bound of created_at: give one with > or >= and one with < or <=")
            self._before = bound

    def _take_text(self, _: str, value: str, place: int) -> None:
        self._texts += 1
        if self._texts > MAX_TEXTS:
            _refuse(place, f'more than {MAX_TEXTS} conditions on text: put several words into one, as in "two words"')
        if not sum([self._take_piece(piece, place) for piece in value.split()]):
            _refuse(place, f"{_shown(value)} has no word: give at least one letter or digit to look for")

    def _take_piece(self, piece: str, place: int) -> int:
        """What stands between two spaces; with a star, its last word is the beginning of words. How many they are."""
        stem, star = (piece[:-1], True) if piece.endswith("*") else (piece, False)
        if "*" in stem:
            _refuse(
                place, f"{_shown(piece)} has a star that is not at its end: only what words begin with can be given"
            )
        found = list(split(stem))
        if star:
            if not found or not _ends_in_word(stem) or len(found[-1]) < MIN_PREFIX_CHARS:
                _refuse(place, f"{_shown(piece)} needs at least {MIN_PREFIX_CHARS} letters or digits before its star")
            self._prefixes[found[-1]] = None
        self._words.update(dict.fromkeys(found[:-1] if star else found))
        if len(self._words) + len(self._prefixes) > MAX_TEXT_WORDS:
            _refuse(place, f"more than {MAX_TEXT_WORDS} words to look for: leave some out")
        return len(found)


def _ends_in_word(text: str) -> bool:
    """Whether a letter or a digit stands last; marks after it belong to it."""
    kinds = (unicodedata.category(char)[0] for char in reversed(text))
    return next((kind in "LN" for kind in kinds if kind != "M"), False)


def _tokens(text: str) -> list[_Token]:
    """The pieces of the filter without its spaces."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        _refuse(error.start + 1, "half of a character: send valid UTF-8")
    if size > MAX_FILTER_BYTES:
        raise InvalidFields.one("filter", f"has {size:,} bytes; at most {MAX_FILTER_BYTES:,} are allowed: ask for less")
    for place, char in enumerate(text, 1):
        if unicodedata.category(char) == "Cc":
            _refuse(place, f"the control character U+{ord(char):04X}: leave it out")
    tokens, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            _refuse_character(text, place)
        if match.lastgroup != "space":
            tokens.append(_Token(str(match.lastgroup), match.group(), place + 1))
        place = match.end()
    return tokens


def _refuse_character(text: str, place: int) -> NoReturn:
    """Says why nothing of a filter begins here."""
    char = text[place]
    if char in "()":
        _refuse(
            place + 1, "parentheses have no meaning here: join conditions by AND, and put a value with them in quotes"
        )
    if char != '"':
        _refuse(place + 1, f"the space U+{ord(char):04X}: write a plain one, or put the value in quotes")
    # A quoted text that did not match: its end is missing, unless something in it is escaped that needs no escape.
    for match in _BACKSLASH.finditer(text, place + 1):
        if match[1] not in ("\\", '"'):
            _refuse(
                match.start() + 1,
                'a backslash that escapes nothing: in quotes write \\\\ for a backslash and \\" for a quote',
            )
    _refuse(place + 1, 'the quote has no end: add a ", and write \\" for one that belongs to the value')


def _instant(value: str, place: int) -> tuple[datetime, bool]:
    """A time of RFC 3339 in UTC, cut to microseconds, and whether that is all of it."""
    match = _TIME.fullmatch(value)
    if match is None:
        _refuse(place, f'{_shown(value)} is no time of RFC 3339: write it as "2026-01-31T00:00:00Z"')
    date, time, fraction, zone = match.groups()
    digits = (fraction or "").ljust(9, "0")
    try:
        at = datetime.fromisoformat(f"{date}T{time}.{digits[:6]}{'+00:00' if zone in 'Zz' else zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(place, f"{_shown(value)} is a time that never comes: check its numbers")
    return at, digits[6:] == "000"


def _refuse(place: int, sentence: str) -> NoReturn:
    raise InvalidFields.one("filter", f"at position {place}: {sentence}")


def _shown(text: str) -> str:
    """A piece of the caller's text, short, in ASCII."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")


def _listed(names: Iterable[str]) -> str:
    """`a, b or c`."""
    *first, last = map(str, names)
    return f"{', '.join(first)} or {last}" if first else last
