"""What reporters and operators write: taken in without what deceives the eye or the terminal. Pure."""

from __future__ import annotations

import re

from gateway.labels import unfit, with_unfit_shown
from waypost.errors import InvalidFields

MAX_COMMENT_CHARS = 2000
MAX_CONTACT_CHARS = 254
MAX_REASON_CHARS = 1000

_LINE_END = re.compile("\r\n?")
_KEPT = "\n\t"


def comment_of(text: str) -> str:
    """The comment to store; raises `InvalidFields` for the field `comment` if it is too long.

    Mails and pages that deceive are full of characters that are drawn as nothing or turn the direction of writing. Who
    quotes them is not to be refused: each becomes a replacement character, so that operators see that there was one.
    """
    text = with_unfit_shown(_LINE_END.sub("\n", text).strip(), kept=_KEPT)
    if problem := _too_long(text, MAX_COMMENT_CHARS):
        raise InvalidFields.one("comment", problem)
    return text


def contact_of(text: str) -> str:
    """The contact to store, one line; raises `InvalidFields` for the field `contact`."""
    text = text.strip()
    problems = unfit(text)
    if problem := _too_long(text, MAX_CONTACT_CHARS):
        problems.append(problem)
    if problems:
        raise InvalidFields.one("contact", "; ".join(problems))
    return text


def reason_of(text: str) -> str:
    """The reason to store, of one line or more; raises `InvalidFields` for the field `reason`."""
    text = _LINE_END.sub("\n", text).strip()
    if not text:
        raise InvalidFields.one("reason", f"is empty: say why, in 1 to {MAX_REASON_CHARS:,} characters")
    # As long as it was, so that what is said of places holds.
    problems = unfit(text.translate({ord(char): " " for char in _KEPT}))
    if problem := _too_long(text, MAX_REASON_CHARS):
        problems.append(problem)
    if problems:
        raise InvalidFields.one("reason", "; ".join(problems))
    return text


def _too_long(text: str, most: int) -> str:
    return f"has {len(text):,} characters: shorten it to {most:,}" if len(text) > most else ""
