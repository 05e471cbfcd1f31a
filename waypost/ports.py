"""What use cases ask of the outside world. `waypost.adapters` answers; `app.py` of each service joins the two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from waypost.model import JobRun, LimitDecision, LimitEntry, Link, LinkEvent, NewLink, Redirect


class Clock(Protocol):
    """Time as the truth has it: UTC, as close to the database's clock as we know."""

    def now(self) -> datetime: ...


class Links(Protocol):
    """The links inside one unit of work."""

    async def add(self, link: NewLink) -> Link | None:
        """Stores a link; None if its code, without regard to case, is taken."""
        ...

    async def get(self, short_code: str) -> Link | None:
        """The link with exactly this code, in whatever state."""
        ...

    async def delete(self, short_code: str) -> tuple[Link, bool] | None:
        """Marks a link deleted: the link as it is now, and whether this call did it. None: there is no such link."""
        ...


class Outbox(Protocol):
    """Events that become true with the unit of work."""

    async def add(self, event: LinkEvent) -> None: ...


class UnitOfWork(Protocol):
    """One transaction. Leaving its context without `commit` undoes everything."""

    @property
    def links(self) -> Links: ...

    @property
    def outbox(self) -> Outbox: ...

    async def commit(self) -> None: ...


class Storage(Protocol):
    """The truth about links. Every call raises `DependencyUnavailable` when the store does not answer."""

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Opens a transaction."""
        ...

    async def get_link(self, short_code: str) -> Link | None:
        """Reads one link outside any transaction."""
        ...


class RedirectReader(Protocol):
    """The read path of redirects: all workspaces, few columns. Raises `DependencyUnavailable`."""

    async def read_redirect(self, short_code: str) -> Redirect | None: ...


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
