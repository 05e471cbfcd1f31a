"""What use cases ask of the outside world. `waypost.adapters` answers; `app.py` of each service joins the two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

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


class UnitOfWork(Protocol):
    """One transaction. Leaving its context without `commit` undoes everything."""

    @property
    def links(self) -> Links: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def answers(self) -> Answers: ...

    async def commit(self) -> None: ...


class Storage(Protocol):
    """The truth about links. Every call raises `DependencyUnavailable` when the store does not answer."""

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a transaction."""
        ...

    async def get_link(self, short_code: str) -> Link | None:
        """Reads one link outside any transaction."""
        ...

    async def read_answer(self, key: IdempotencyKey) -> bytes | None:
        """What was answered to this key, outside any transaction; None: nothing, or more than 24 hours ago.

        Raises `IdempotencyKeyReused` if the key came with another request.
        """
        ...

    async def list_links(self, workspace_id: UUID, query: ListQuery, now: datetime) -> LinkPage:
        """Reads a page of links outside any transaction; `now` decides what has expired."""
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
