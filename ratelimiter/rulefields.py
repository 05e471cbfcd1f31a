"""Reading fields of a rule file: each is checked, and what is wrong is told by file, place and cause."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from ratelimiter.ruleyaml import Written

MAX_PROBLEMS = 100
"""So many are told at most, of all files together."""

MAX_PROBLEM = 1000
"""Characters of each: files may have megabytes where a word should be."""

MAX_METADATA_VALUES = 1000
MAX_METADATA_DEPTH = 16

YAML_TRUE = {"true", "yes", "on", "y"}
YAML_FALSE = {"false", "no", "off", "n"}

E = TypeVar("E", bound=StrEnum)


class Problems:
    """What is wrong with the files of a folder."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._more = 0

    def __len__(self) -> int:
        return len(self._told) + self._more

    def add(self, file: str, place: str, sentence: str) -> None:
        """Notes one; `place` is empty for the file as a whole."""
        if len(self._told) == MAX_PROBLEMS:
            self._more += 1
        else:
            told = f"{file}: {place}: {sentence}" if place else f"{file}: {sentence}"
            self._told.append(told if len(told) <= MAX_PROBLEM else f"{told[:MAX_PROBLEM]}…")

    @property
    def lines(self) -> list[str]:
        """One line for each, and at the end how many more there are."""
        return [*self._told, f"and {self._more} more"] if self._more else list(self._told)


@dataclass(frozen=True, slots=True)
class Fields:
    """One mapping of a file, and the place in the file where it stands. Wrong fields read as empty or lowest."""

    mapping: Mapping[object, object]
    file: str
    place: str
    problems: Problems

    def __contains__(self, field: str) -> bool:
        return field in self.mapping

    def inner(self, field: str, index: int | None = None) -> str:
        """The place of a field, or of one item of it."""
        place = f"{self.place}.{field}" if self.place else field
        return place if index is None else f"{place}[{index}]"

    def wrong(self, field: str, sentence: str) -> None:
        """Notes a problem with a field, or with all of it if `field` is empty."""
        self.problems.add(self.file, self.inner(field) if field else self.place, sentence)

    def items(self, field: str, shape: str, most: int | None = None) -> list[Fields]:
        """The mappings in a list; `shape` says what they must be, `most` how many there may be."""
        value = self.mapping.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(field, "must be a list")
            return []
        if most is not None and len(value) > most:
            # Not read: an alias gives a long list to every descriptor.
            self.wrong(field, f"must be at most {most}")
            return []
        found = []
        for index, item in enumerate(value):
            place = self.inner(field, index)
            if isinstance(item, dict):
                found.append(Fields(item, self.file, place, self.problems))
            else:
                self.problems.add(self.file, place, shape)
        return found

    def check_keys(self, known: Collection[str], elsewhere: Mapping[str, str]) -> None:
        """Tells of keys that are not known; `elsewhere` says of those with a place of their own where that is."""
        for key in self.mapping:
            if key in known:
                continue
            if key in elsewhere:
                self.wrong("", f"{key!r} has no place here: it belongs {elsewhere[str(key)]}")
                continue
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else ", ".join(known)
            self.wrong("", f"unknown key {key!r} ({hint})")

    def refuse(self, fields: Iterable[str], sentence: str) -> None:
        """Tells of each of `fields` that is there."""
        for field in fields:
            if field in self.mapping:
                self.wrong(field, sentence)

    def text(self, field: str, max_bytes: int, *, required: bool = False) -> str:
        """A text; empty if it is not there."""
        text = self.mapping.get(field)
        if text is None:
            text = ""
        if not isinstance(text, str):
            self.wrong(field, "must be a text")
            return ""
        if required and not text:
            self.wrong(field, "must not be empty" if field in self.mapping else "is missing")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            self.wrong(field, "has half a surrogate pair in it, which no request can carry")
            return ""
        if size > max_bytes:
            self.wrong(field, f"must be at most {max_bytes} bytes")
        # Without what it may be meant for: from here on it is a text.
        return str(text)

    def flag(self, field: str) -> bool:
        """True or false; false if it is not there."""
        text = str(self.mapping.get(field) or "false").lower()
        if text not in YAML_TRUE | YAML_FALSE:
            self.wrong(field, "must be true or false")
        return text in YAML_TRUE

    def choice(self, field: str, choices: type[E], default: E) -> E:
        """One of a few words."""
        if field not in self.mapping:
            return default
        text = self.mapping[field]
        try:
            return choices(str(text))
        except ValueError:
            self.wrong(field, f"unknown {field} {text!r} ({', '.join(choices)})")
            return default

    def number(self, field: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number within its bounds; without a default it has to be there."""
        if field not in self.mapping:
            if default is None:
                self.wrong(field, "is missing")
            return low if default is None else default
        text = self.mapping[field]
        if isinstance(text, str) and re.fullmatch(r"0|[1-9][0-9_]{0,19}", text):
            number = int(text.rstrip("_"))
            if low <= number <= high:
                return number
        self.wrong(field, f"must be a whole number from {low} to {high}")
        return low

    def metadata(self, field: str) -> dict[str, object] | None:
        """A mapping of whatever there is, with numbers and flags as such; None if there is nothing in it."""
        value = self.mapping.get(field)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(field, "must be a mapping")
            return None
        try:
            meant = _Meaning().of(value, MAX_METADATA_DEPTH)
        except ValueError as error:
            self.wrong(field, str(error))
            return None
        return meant if isinstance(meant, dict) and meant else None


class _Meaning:
    """What YAML that is no rule means; raises ValueError for more than is good."""

    def __init__(self) -> None:
        self._values = 0

    def of(self, value: object, depth: int) -> object:
        self._values += 1
        if self._values > MAX_METADATA_VALUES:
            raise ValueError(f"must have at most {MAX_METADATA_VALUES} values")
        if depth == 0:
            raise ValueError(f"must nest at most {MAX_METADATA_DEPTH} deep")
        if isinstance(value, dict):
            return {str(key): self.of(inner, depth - 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.of(inner, depth - 1) for inner in value]
        if isinstance(value, Written):
            return value.meant
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("must be of texts, numbers, flags, lists and mappings")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("has half a surrogate pair in it, which no answer can carry") from None
        return value
