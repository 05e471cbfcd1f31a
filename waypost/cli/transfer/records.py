"""A link as a file describes it, and whether it can become one of ours: as far as can be told without the server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from waypost.cli.output import counted
from waypost.client import NewLink
from waypost.model import REDIRECT_STATUSES

MAX_RECORD = 64 * 1024
"""Characters that a record may have."""

TOO_LARGE = f"it is larger than {MAX_RECORD // 1024} KiB"

MAX_URL_BYTES = 8192
MAX_TITLE_CHARS = 256
MAX_TAGS = 20
MAX_TAG_CHARS = 50
MAX_CLICKS = 1_000_000_000

Kind = Literal["skipped", "failed"]
"""`skipped`: not to be carried over (expired, archived, ...); `failed`: it should have been, but cannot be."""

_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,63}")
_URL = re.compile(r"https?://[^/?#\\]", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
# What titles of pages are full of and the server takes in no title: line breaks and other control characters, and
# characters that are drawn as nothing.
_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_NUMBER = re.compile(r"-?[0-9]{1,18}")


class UnusableFile(Exception):
    """The file as a whole cannot be read; `str()` says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its first `line` (from 1, the header counts), or its `number` (from 1) in a JSON array."""

    kind: Literal["line", "record"]
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number:,}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that is not imported, and why."""

    place: Place
    kind: Kind
    code: str
    url: str
    reason: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A record as its format understands it, values not checked yet.

    `starts`, `expires` and `max_clicks` are what the file has, text or number. `clicks` of `max_clicks` are used
    already. `unfit` says why the link is not to be carried over; empty: it is. `exact`: title and tags are ours already
    and are taken as they are.
    """

    url: str
    code: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    starts: object = None
    expires: object = None
    max_clicks: object = None
    clicks: object = None
    redirect_status: object = None
    forward_query: bool = False
    unfit: str = ""
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a file: what a format made of it, or the `problem` that it cannot even be read."""

    place: Place
    draft: Draft = field(default_factory=lambda: Draft(""))
    problem: str = ""
    kind: Kind = "failed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that can be sent. `tidied`: its title or tags had to be changed to fit."""

    place: Place
    link: NewLink
    tidied: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """How codes become aliases, and the time by which a link counts as expired."""

    as_of: datetime
    prefix: str = ""
    random_codes: bool = False

    def check(self, entry: Entry) -> Candidate | Problem:
        """What can be sent for a record, or why nothing can."""
        draft = entry.draft
        if entry.problem:
            return Problem(entry.place, entry.kind, readable(draft.code), readable(draft.url), entry.problem)
        try:
            return self._candidate(entry.place, draft)
        except _NotCarried as reason:
            return Problem(entry.place, reason.kind, readable(draft.code), readable(draft.url), str(reason))

    def _candidate(self, place: Place, draft: Draft) -> Candidate:
        if draft.unfit:
            raise _NotCarried("skipped", draft.unfit)
        for value in (draft.url, draft.code, draft.title, *draft.tags):
            if _ESCAPED_BYTE.search(value):
                raise _NotCarried("failed", f"it has bytes that are not UTF-8: {self._reencoding}")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise _NotCarried("failed", "it has half of a character: mend the file") from None
        expires_at = self._expiry(draft)
        title, tags, tidied = draft.title, draft.tags, False
        if not draft.exact:
            title, tags = _tidy(title, MAX_TITLE_CHARS), _tags(draft)
            tidied = title != draft.title.strip() or tags != tuple(dict.fromkeys(draft.tags))
        link = NewLink(
            url=_url(draft.url if draft.exact else draft.url.strip()),
            alias=self._alias(draft.code),
            title=title,
            tags=tags,
            expires_at=expires_at,
            max_clicks=_clicks_left(draft),
            redirect_status=_status(draft),
            forward_query=draft.forward_query,
        )
        return Candidate(place, link, tidied)

    def _alias(self, code: str) -> str:
        if self.random_codes or not code:
            return ""
        alias = self.prefix + code
        if _ALIAS.fullmatch(alias):
            return alias
        raise _NotCarried(
            "failed",
            f"the code {alias!r} cannot be an alias, which is 3 to 64 of A-Z a-z 0-9 _ - and begins with a letter or a "
            "digit: change it in the file and run again with --restart, or put it in a file of its own and import that "
            "with --prefix or --random-codes",
        )

    @property
    def _reencoding(self) -> str:
        # Begun anew, links with random codes would all be made once more.
        if self.random_codes:
            return "put it in a file of its own and import that with its --encoding"
        return "give the file's --encoding, with --restart"

    def _expiry(self, draft: Draft) -> datetime | None:
        starts, at = _time(draft.starts, "beginning"), _time(draft.expires, "end")
        if starts is not None and starts > self.as_of:
            raise _NotCarried("skipped", f"it begins only at {_shown(starts)}, and links here begin at once")
        if at is not None and at <= self.as_of:
            raise _NotCarried("skipped", f"it expired at {_shown(at)}")
        return at


class _NotCarried(Exception):
    def __init__(self, kind: Kind, reason: str) -> None:
        self.kind: Kind = kind
        super().__init__(reason)


def time_of(value: object) -> datetime | None:
    """The time that a file gives: ISO 8601 (UTC unless it says otherwise), or seconds or milliseconds since 1970.

    None for nothing. Raises `ValueError` for what is no time.
    """
    text = "" if value is None or value is False else str(value).strip()
    # What databases write for no time.
    if text.lower() in ("", "null", "none", "\\n") or text.startswith("0000-00-00"):
        return None
    if _NUMBER.fullmatch(text):
        seconds = int(text)
        if abs(seconds) >= 100_000_000_000:
            seconds //= 1000
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, OSError):
            raise ValueError(text) from None
    at = datetime.fromisoformat(text)
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None


def whole_number(value: object) -> int:
    """The number that a file gives, 0 for nothing. Raises `ValueError` for what is no whole number."""
    if value is None or isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return value
    if isinstance(value, (float, Decimal)):
        if value != value.__trunc__():
            raise ValueError(str(value))
        return value.__trunc__()
    text = str(value).strip()
    if text.lower() in ("", "null", "none", "\\n"):
        return 0
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def readable(text: str, limit: int = 200) -> str:
    """The text without what a terminal would obey or a report could not hold, and not too long."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:limit])
    return shown + ("…" if len(text) > limit else "")


def _time(value: object, what: str) -> datetime | None:
    try:
        return time_of(value)
    except ValueError:
        raise _NotCarried("failed", f"its {what} {readable(str(value))!r} is no time") from None


def _shown(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _url(url: str) -> str:
    if not url:
        raise _NotCarried("failed", "it has no URL to lead to")
    if not _URL.match(url):
        raise _NotCarried("failed", "its URL does not begin with http:// or https:// and a host")
    if _UNPRINTABLE.search(url):
        raise _NotCarried("failed", "its URL has a space or a control character: write it in percent-encoding")
    if len(url.encode()) > MAX_URL_BYTES:
        raise _NotCarried("failed", f"its URL is longer than {MAX_URL_BYTES:,} bytes")
    return url


def _clicks_left(draft: Draft) -> int:
    most = _number(draft.max_clicks, "its limit of clicks")
    if not 0 <= most <= MAX_CLICKS:
        raise _NotCarried("failed", f"its limit of {most:,} clicks is not between 1 and {MAX_CLICKS:,}")
    used = _number(draft.clicks, "its number of clicks") if most else 0
    if most and used >= most:
        raise _NotCarried("skipped", f"its {counted(most, 'click')} {'is' if most == 1 else 'are'} used up")
    return most - max(used, 0)


def _status(draft: Draft) -> int:
    status = _number(draft.redirect_status, "its redirect status")
    if status not in (0, *REDIRECT_STATUSES):
        raise _NotCarried("failed", f"its redirect status {status} is none of 301, 302, 307 and 308")
    return status


def _number(value: object, what: str) -> int:
    try:
        return whole_number(value)
    except (ValueError, OverflowError):
        raise _NotCarried("failed", f"{what} {readable(str(value))!r} is no whole number") from None


def _tags(draft: Draft) -> tuple[str, ...]:
    parts = (part for tag in draft.tags for part in tag.split(","))
    return tuple(dict.fromkeys(filter(None, (_tidy(part, MAX_TAG_CHARS) for part in parts))))[:MAX_TAGS]


def _tidy(text: str, limit: int) -> str:
    return _INVISIBLE.sub("", _SPACES.sub(" ", text)).strip()[:limit].rstrip()
