"""What owners call their links: titles and tags, taken in as people write them, without what deceives the eye."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from gateway.hosts import describe
from waypost.errors import FieldViolation, InvalidFields

MAX_TITLE_CHARS = 256
MAX_TAGS = 20
MAX_TAG_CHARS = 50
MAX_GIVEN_TAGS = 1000
"""Repeated ones count once, but not without end."""

# NFC composes four characters to one at most. What is longer still is not normalised: a run of marks would cost the
# square of its length.
_MAX_RAW_TAG_CHARS = 4 * MAX_TAG_CHARS

_UNFIT = re.compile(
    # The flags of England, Scotland and Wales are spelled in characters that are drawn as nothing elsewhere.
    "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
    "|(?P<control>[\x00-\x1f\x7f-\x9f\u2028\u2029])"
    "|(?P<half>[\ud800-\udfff])"
    # Format characters that are drawn as nothing, and fillers; some turn the direction of what follows. Not here: the
    # joiners U+200C and U+200D, which scripts and emoji need, and signs of Arabic, Syriac, Kaithi and hieroglyphs,
    # which are format characters by category but are drawn.
    "|(?P<invisible>[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff])"
)
_MEND = {
    "control": "has the control character {} at position {}: remove it",
    "half": "has half of a character, {}, at position {}: send valid UTF-8",
    "invisible": "has the invisible character {} at position {}: remove it",
}


def title_of(text: str) -> str:
    """The title to store: the text without the spaces around it. Raises `InvalidFields` for the field `title`."""
    title = text.strip()
    problems = unfit(text)
    if len(title) > MAX_TITLE_CHARS:
        problems.append(f"has {len(title):,} characters: shorten it to {MAX_TITLE_CHARS}")
    if problems:
        raise InvalidFields.one("title", "; ".join(problems))
    return title


def tags_of(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags to store: in Unicode's form NFC, each once, in the order given.

    Raises `InvalidFields` for the fields `tags` (too many) and `tags[0]`, `tags[1]`, ... (the first 20 bad ones).
    """
    # A dict keeps the order; as keys, what differs in form only is one.
    kept: dict[str, None] = {}
    violations: list[FieldViolation] = []
    if len(tags) > MAX_GIVEN_TAGS:
        raise InvalidFields.one("tags", f"has {len(tags):,} tags: give {MAX_TAGS} at most")
    for index, raw in enumerate(tags):
        # Who sends thousands of bad tags learns enough from the first ones, and the answer stays small.
        if len(violations) == MAX_TAGS:
            break
        tag = unicodedata.normalize("NFC", raw) if len(raw) <= _MAX_RAW_TAG_CHARS else raw
        if problems := _tag_problems(tag):
            violations.append(FieldViolation(f"tags[{index}]", "; ".join(problems)))
        else:
            kept[tag] = None
    if len(kept) > MAX_TAGS:
        violations.append(FieldViolation("tags", f"has {len(kept):,} different tags: give {MAX_TAGS} at most"))
    if violations:
        raise InvalidFields(violations)
    return tuple(kept)


def _tag_problems(tag: str) -> list[str]:
    if not tag:
        return ["is empty: remove it, or give it 1 to 50 characters"]
    problems = unfit(tag)
    if len(tag) > MAX_TAG_CHARS:
        problems.append(f"has {len(tag):,} characters: shorten it to {MAX_TAG_CHARS}")
    if "," in tag:
        problems.append("has a comma: make two tags of it, or leave the comma out")
    if tag != tag.strip():
        problems.append("begins or ends with a space: remove it")
    return problems


def unfit(text: str) -> list[str]:
    """A sentence about the first character that no title, tag or name may have; empty: there is none."""
    for found in _UNFIT.finditer(text):
        if kind := found.lastgroup:
            return [_MEND[kind].format(describe(found.group()), found.start() + 1)]
    return []


def with_unfit_shown(text: str, kept: str = "") -> str:
    """The text with a replacement character for each that `unfit` would name, but for those that are `kept`."""

    def shown(found: re.Match[str]) -> str:
        # Without a name it is one of the flags.
        return found.group() if found.lastgroup is None or found.group() in kept else "\N{REPLACEMENT CHARACTER}"

    return _UNFIT.sub(shown, text)
