"""What use cases ask of the outside world. `waypost.adapters` answers; `app.py` of each service joins the two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from native.limits import Decision
from native.request import NOWHERE, Elsewhere, Question, Verdict
from waypost.access.api_keys import KeyRecord
from waypost.access.identity import Membership
from waypost.accounts import Key, KeyPlace, Member, NewKey, Workspace
from waypost.audit import AuditEntry, AuditPage, AuditQuery
from waypost.listing import LinkPage, ListQuery
from waypost.model import IdempotencyKey, JobRun, LimitDecision, LimitEntry, Link, LinkEvent, NewLink, Redirect


class Clock(Protocol):
    """Time as the truth has it: UTC, as close to the database's clock as we know."""

    def now(self) -> datetime: ...


class Links(Protocol):
    """The links inside one unit of work."""

    async def add_all(self, links: Sequence[NewLink]) -> list[Link | None]:
        """Stores links; in order, each or None if its code, without regard to case, is taken, also by one before it."""
        ...

    async def lock(self, short_code: str) -> Link | None:
        """The link with exactly this code, in whatever state; nobody else changes it until the unit of work is over."""
        ...

    async def update(self, before: Link, after: Link) -> Link:
        """Stores what an owner may change of a locked link: `after` instead of `before`. Returns it as it is now."""
        ...

    async def set_deleted(self, link: Link, *, deleted: bool) -> Link:
        """Deletes or undeletes a locked link. Returns it as it is now."""
        ...


class Outbox(Protocol):
    """Events that become true with the unit of work."""

    async def add_all(self, events: Sequence[LinkEvent]) -> None: ...


class Answers(Protocol):
    """What requests with an idempotency key were answered, for 24 hours."""

    async def claim(self, key: IdempotencyKey) -> bytes | None:
        """To be called first in a unit of work: None, the key is this one's; else the answer that was given before.

        Waits for a rival with the same key; raises `IdempotencyKeyInUse` if that takes too long, `IdempotencyKeyReused`
        if the key came with another request.
        """
        ...

    async def keep(self, key: IdempotencyKey, answer: bytes) -> None:
        """Notes the answer for a key that was claimed in this unit of work."""
        ...


class Audit(Protocol):
    """What the unit of work does, for the audit log."""

    async def add_all(self, entries: Sequence[AuditEntry]) -> None: ...


class Members(Protocol):
    """The members of the unit of work's workspace."""

    async def add(self, member: Member) -> bool:
        """Adds somebody (`created_at` is the store's); False: the subject is a member."""
        ...

    async def lock(self, subject: str) -> Member | None:
        """The member; nobody else changes any owner of the workspace until the unit of work is over."""
        ...

    async def update(self, member: Member) -> Member:
        """Stores role and name of a locked member. Returns it as it is now."""
        ...

    async def remove(self, subject: str) -> None:
        """Takes a locked member out."""
        ...

    async def count(self, *, owners_only: bool = False) -> int:
        """How many there are; to be asked when one is locked, or before one is added."""
        ...


class Keys(Protocol):
    """The keys of the unit of work's workspace."""

    async def add(self, key: NewKey) -> Key:
        """Stores a key."""
        ...

    async def revoke(self, key_id: str) -> tuple[Key, bool] | None:
        """Revokes a key; the key as it is now, and whether it was not revoked before. None: there is none."""
        ...

    async def count_live(self) -> int:
        """How many are neither revoked nor expired; rivals that ask in other units of work wait for this one's end."""
        ...


class OwnWorkspace(Protocol):
    """The unit of work's workspace."""

    async def lock(self) -> Workspace | None:
        """The workspace; nobody else renames it until the unit of work is over. None: it is not there."""
        ...

    async def rename(self, name: str) -> Workspace | None:
        """Renames it. Returns it as it is now; None: it is not there."""
        ...


class UnitOfWork(Protocol):
    """One transaction in one workspace. Leaving its context without `commit` undoes everything."""

    @property
    def links(self) -> Links: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def answers(self) -> Answers: ...

    @property
    def audit(self) -> Audit: ...

    @property
    def members(self) -> Members: ...

    @property
    def keys(self) -> Keys: ...

    @property
    def workspace(self) -> OwnWorkspace: ...

    async def commit(self) -> None: ...


class Storage(Protocol):
    """The truth about the links of each workspace: a call sees the rows of the workspace it names, and no others.

    Every call raises `DependencyUnavailable` when the store does not answer.
    """

    def unit_of_work(self, workspace_id: UUID) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a transaction in a workspace."""
        ...

    async def get_link(self, workspace_id: UUID, short_code: str) -> Link | None:
        """Reads one link of the workspace."""
        ...

    async def read_answer(self, key: IdempotencyKey) -> bytes | None:
        """What was answered to this key, by the key's workspace; None: nothing, or more than 24 hours ago.

        Raises `IdempotencyKeyReused` if the key came with another request.
        """
        ...

    async def list_links(self, workspace_id: UUID, query: ListQuery, now: datetime) -> LinkPage:
        """Reads a page of the workspace's links; `now` decides what has expired."""
        ...


class AccountReader(Protocol):
    """Reads about one workspace at a time. Raises `DependencyUnavailable`."""

    async def get_workspace(self, workspace_id: UUID) -> Workspace | None:
        """The workspace."""
        ...

    async def list_members(self, workspace_id: UUID, size: int, after: str) -> Sequence[Member]:
        """At most `size` members by subject, those behind `after`."""
        ...

    async def list_keys(self, workspace_id: UUID, size: int, after: KeyPlace | None) -> Sequence[Key]:
        """At most `size` keys, the newest first, those behind `after`."""
        ...

    async def get_key(self, workspace_id: UUID, key_id: str) -> Key | None:
        """The key."""
        ...


class AuditReader(Protocol):
    """Reads the audit log. Raises `DependencyUnavailable`."""

    async def read_audit(self, query: AuditQuery) -> AuditPage:
        """A page of it. Looks at a bounded number of rows, so a page may be short, or empty, and not the last."""
        ...


class Credentials(Protocol):
    """What authentication asks of the store, across workspaces. Raises `DependencyUnavailable`."""

    async def read_key(self, key_id: str) -> KeyRecord | None:
        """The key's record, also if it is revoked or expired."""
        ...

    async def read_memberships(self, subject: str) -> Sequence[Membership]:
        """The workspaces that somebody is a member of, by id; at most 1,000."""
        ...

    async def workspace_exists(self, workspace_id: UUID) -> bool:
        """Whether there is such a workspace."""
        ...

    async def note_use(self, key_ids: Sequence[str]) -> None:
        """Notes that these keys were used just now."""
        ...


class RedirectReader(Protocol):
    """The read path of redirects: all workspaces, few columns. Raises `DependencyUnavailable`."""

    async def read_redirect(self, short_code: str) -> Redirect | None: ...


class RedirectStore(RedirectReader, Protocol):
    """The same, and the one thing that visitors change."""

    async def use_click(self, short_code: str) -> Redirect | None:
        """Takes one click of a limited link that is active; its redirect, as it was then. None: there was none."""
        ...


class Limiter(Protocol):
    """Decides whether a request may be served; always answers (see `LimitDecision.degraded`)."""

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision: ...


class CounterStore(Protocol):
    """Rate limit counters that all replicas share, by the store's own time.

    Raises `StoreUnavailable` within the store's deadline; then nobody knows whether the request was charged.
    """

    async def decide(self, domain: str, questions: Sequence[Question], elsewhere: Elsewhere = NOWHERE) -> Verdict:
        """Decides on a request and charges what it has to: `native.request.decide`."""
        ...

    async def look(self, domain: str, questions: Sequence[Question]) -> tuple[Decision, ...]:
        """What each question by itself would be answered; charges nothing."""
        ...

    async def reset(self, domain: str, questions: Sequence[Question]) -> int:
        """Forgets the questions' counters; how many there were."""
        ...

    async def check(self) -> None:
        """A health check: raises `DependencyUnavailable` when the store does not answer."""
        ...


class Schedule(Protocol):
    """The book of scheduled jobs: one row for each (job, tick). Raises `DependencyUnavailable`."""

    async def claim(self, job: str, interval: timedelta) -> JobRun | None:
        """Takes the current tick of `job` by the store's clock; None if some worker has it already."""
        ...

    async def finish(self, run: JobRun, affected: int, error: str) -> None:
        """Notes how the run ended."""
        ...

    async def last_runs(self) -> dict[str, JobRun]:
        """The last run of each job that ever ran."""
        ...


class ExpirySweep(Protocol):
    """Marks links whose time is over. Raises `DependencyUnavailable`."""

    async def expire_batch(self, limit: int) -> int:
        """Marks at most `limit` expired links, each with its event; returns how many."""
        ...


class AnswerSweep(Protocol):
    """Forgets answers that are older than their 24 hours. Raises `DependencyUnavailable`."""

    async def forget_batch(self, limit: int) -> int:
        """Forgets at most `limit` answers; returns how many."""
        ...
