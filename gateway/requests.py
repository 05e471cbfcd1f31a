"""What callers ask of links, as plain values: as it came, not yet checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from waypost.access.identity import Identity
from waypost.errors import FieldViolation


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a use case runs, in which workspace, and the call's correlation id."""

    identity: Identity
    workspace_id: UUID
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Content:
    """What an owner may say of a link: `expires_at` and `ttl_seconds` exclude each other; "", (), 0 and None: nothing.

    `malformed` lists fields that no value could be made of.
    """

    url: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    expires_at: datetime | None = None
    ttl_seconds: int | None = None
    max_clicks: int = 0
    redirect_status: int = 0
    forward_query: bool = False
    malformed: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateLink:
    """A link to make; without `alias` its code is random."""

    content: Content
    alias: str = ""


@dataclass(frozen=True, slots=True)
class UpdateLink:
    """A link to change: of `content` only the fields that `changes` names, those that are empty being cleared.

    `etag` "": whatever state the link is in.
    """

    short_code: str
    content: Content
    changes: frozenset[str]
    etag: str = ""


CHANGEABLE = ("url", "title", "tags", "expires_at", "max_clicks", "redirect_status", "forward_query")
"""What `UpdateLink.changes` may name; `expires_at` stands for `ttl_seconds`, too."""
