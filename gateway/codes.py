"""Short codes: random ones, and the rules for those that people choose."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator

from gateway.words import is_offensive_alias, is_offensive_code, is_reserved
from waypost.errors import InvalidFields

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"
"""Characters of random codes: base62 without those that are taken for each other, `0` `O` `o` and `1` `I` `l`."""

MIN_LENGTH = 7
"""Characters of a random code while the space is far from full: 56^7, 1.7 trillion; 33^7, 42 billion, without case."""

MIN_ALIAS_LENGTH = 3
MAX_ALIAS_LENGTH = 64

# The same shape for aliases and random codes: whatever passes here may be stored, whatever does not cannot be.
_CODE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{{MIN_ALIAS_LENGTH - 1},{MAX_ALIAS_LENGTH - 1}}}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


def random_code(length: int) -> str:
    """`length` characters of `ALPHABET` from the system's random source, all codes equally likely."""
    # One question to the system for the whole code, not one for each character.
    number = secrets.randbelow(len(ALPHABET) ** length)
    characters = []
    for _ in range(length):
        number, place = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[place])
    return "".join(characters)


def is_code(text: str) -> bool:
    """Whether a link could have this code by its shape; if not, no store need be asked."""
    return _CODE.fullmatch(text) is not None


def check_alias(alias: str) -> None:
    """Raises `InvalidFields` for the field `alias` unless a link may be called so."""
    if problem := _alias_problem(alias):
        raise InvalidFields.one("alias", problem)


class CodeSource:
    """Candidates for the codes of new links; one object serves all creates of a process.

    Codes grow when they collide with those of stored links. In one create each `collisions_per_step` collisions add a
    character, at most `MAX_STEPS - 1` in all. Over all creates, once `FULL_SHARE` of a window of `WINDOW` candidates of
    the first length have collided, that length grows by one for good. `draw` makes a code of a length.
    """

    MAX_STEPS = 6
    WINDOW = 64
    FULL_SHARE = 0.25

    def __init__(
        self, length: int = MIN_LENGTH, collisions_per_step: int = 3, draw: Callable[[int], str] = random_code
    ) -> None:
        self._length = length
        self._collisions_per_step = collisions_per_step
        self._draw = draw
        self._tried = 0
        self._collided = 0

    @property
    def length(self) -> int:
        """Characters of the first candidate of the next create."""
        return self._length

    def candidates(self) -> Iterator[str]:
        """Codes to try one after the other: asking for the next one says that the last one was taken.

        Reserved and profane words never come. The end, after `MAX_STEPS * collisions_per_step` candidates, is
        out of reach by chance: the store calls everything taken.
        """
        first = self._length
        for length in range(first, first + self.MAX_STEPS):
            for _ in range(self._collisions_per_step):
                self._count(length, tried=1)
                yield self._acceptable(length)
                self._count(length, collided=1)

    def _acceptable(self, length: int) -> str:
        while True:
            code = self._draw(length)
            if not is_reserved(code) and not is_offensive_code(code):
                return code

    def _count(self, length: int, tried: int = 0, collided: int = 0) -> None:
        if length != self._length:
            return
        self._tried += tried
        self._collided += collided
        if self._collided >= self.WINDOW * self.FULL_SHARE:
            self._length += 1
            self._tried = self._collided = 0
        elif self._tried >= self.WINDOW:
            self._tried = self._collided = 0


def _alias_problem(alias: str) -> str:
    """What is wrong with the alias; empty: nothing."""
    # Reserved words come first: some have a dot, and "reserved" says more than "has a dot".
    if is_reserved(alias):
        return "is a reserved word: choose another alias"
    if foreign := _FOREIGN.search(alias):
        return f"has the character {foreign.group()!a}: use only A-Z, a-z, 0-9, '_' and '-'"
    if not MIN_ALIAS_LENGTH <= len(alias) <= MAX_ALIAS_LENGTH:
        return f"has {len(alias)} characters: use {MIN_ALIAS_LENGTH} to {MAX_ALIAS_LENGTH}"
    if not is_code(alias):
        return f"starts with '{alias[0]}': start it with a letter or a digit"
    if is_offensive_alias(alias):
        return "is not available: choose another alias"
    return ""
