"""The nouns of the product as plain values: no driver, no protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

DEFAULT_WORKSPACE = UUID("00000000-0000-0000-0000-000000000001")
"""The workspace of links made without an identity; made by the first migration."""

MESH_LIMIT_DOMAIN = "waypost"
"""The domain of the rules by which the mesh limits its own callers; nobody else may spend from them."""

REDIRECT_STATUSES = (301, 302, 307, 308)
DEFAULT_REDIRECT_STATUS = 302


class LinkState(StrEnum):
    """What a link does now; see `waypost.api.v1.LinkState`."""

    ACTIVE = "active"
    EXPIRED = "expired"
    BLOCKED = "blocked"
    DELETED = "deleted"
    EXHAUSTED = "exhausted"
    WARNED = "warned"


class DestinationFlag(StrEnum):
    """What is odd about a destination's host; see `waypost.api.v1.DestinationFlag`."""

    INTERNATIONAL_HOST = "international_host"
    MIXED_SCRIPT = "mixed_script"
    CONFUSABLE = "confusable"
    IP_ADDRESS = "ip_address"
    SHORTENER = "shortener"
    PRIVATE_HOST = "private_host"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a link leads, once it has passed intake: the URL to store and what is odd about its host."""

    url: str
    flags: tuple[DestinationFlag, ...] = ()


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link that is not stored yet. `max_clicks` 0: any number."""

    workspace_id: UUID
    short_code: str
    destination: Destination
    expires_at: datetime | None
    redirect_status: int
    title: str = ""
    tags: tuple[str, ...] = ()
    max_clicks: int = 0
    forward_query: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A stored link. `version` starts at 1 and grows with every change; `expires_at` is exclusive; times are UTC.

    `max_clicks` 0: any number; `clicks_used` counts only while there is such a limit.
    """

    workspace_id: UUID
    short_code: str
    destination: Destination
    blocked: bool
    version: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    expires_at: datetime | None
    redirect_status: int
    title: str = ""
    tags: tuple[str, ...] = ()
    max_clicks: int = 0
    clicks_used: int = 0
    forward_query: bool = False
    warned: bool = False

    def state(self, now: datetime) -> LinkState:
        """What the link does at `now`; see `link_state`."""
        return link_state(
            deleted=self.deleted_at is not None,
            blocked=self.blocked,
            expires_at=self.expires_at,
            exhausted=0 < self.max_clicks <= self.clicks_used,
            warned=self.warned,
            now=now,
        )


@dataclass(frozen=True, slots=True)
class Redirect:
    """The columns of a link that a redirect needs, and nothing of its owner.

    `limited`: it has a number of clicks, of which every redirect takes one. Whether they are `exhausted` moves with
    every click and without a new `version`: true only of what was just read.
    """

    short_code: str
    url: str
    redirect_status: int
    version: int
    blocked: bool
    deleted: bool
    expires_at: datetime | None
    created_at: datetime
    warned: bool = False
    limited: bool = False
    exhausted: bool = False
    forward_query: bool = False

    def state(self, now: datetime) -> LinkState:
        """What the link does at `now`; see `link_state`."""
        return link_state(
            deleted=self.deleted,
            blocked=self.blocked,
            expires_at=self.expires_at,
            exhausted=self.exhausted,
            warned=self.warned,
            now=now,
        )


def link_state(
    *, deleted: bool, blocked: bool, expires_at: datetime | None, exhausted: bool, warned: bool, now: datetime
) -> LinkState:
    """The state that these facts add up to at `now`: deleted before blocked, expired, exhausted and warned."""
    if deleted:
        return LinkState.DELETED
    if blocked:
        return LinkState.BLOCKED
    if expires_at is not None and expires_at <= now:
        return LinkState.EXPIRED
    if exhausted:
        return LinkState.EXHAUSTED
    return LinkState.WARNED if warned else LinkState.ACTIVE


class EventType(StrEnum):
    """What can happen to a link; see `waypost.api.v1.EventType`."""

    LINK_CREATED = "link_created"
    LINK_UPDATED = "link_updated"
    LINK_DELETED = "link_deleted"


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A fact about a link, to be written to the outbox in the transaction that made it true."""

    type: EventType
    link: Link
    correlation_id: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Names one attempt to change something, so that it is made once however often it is asked for.

    `fingerprint` is a digest of the request: the same key with another one is a mistake.
    """

    workspace_id: UUID
    principal: str
    method: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class LimitEntry:
    """A key and value of a rate limit descriptor."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What a caller is told of a limit: `limit` hits each `window` seconds, of which `remaining` are left.

    `reset`: seconds until it is whole again; in a refusal, until the same request is admitted.
    """

    limit: int
    window: float
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class LimitDecision:
    """The answer of a rate limit check; `rule` is the one that refused, or has the least left, `budget` what it has.

    `retry_after`: seconds until the same request is admitted; None: never, since it costs more than the limit has.
    """

    allowed: bool
    rule: str = ""
    retry_after: float | None = 0.0
    degraded: bool = False
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a scheduled job for one tick."""

    job: str
    tick: datetime
    started_at: datetime
    finished_at: datetime | None
    affected: int
    error: str
