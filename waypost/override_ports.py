"""What the use cases around overrides ask of their store; see `waypost.ports`. All raise `DependencyUnavailable`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from waypost.audit import AuditEntry
from waypost.overrides import NewOverride, Override, OverridePage, OverridePlace
from waypost.ports import Audit


class Overrides(Protocol):
    """The overrides inside one unit of work. One whose time is over is not there."""

    async def find(self, new: NewOverride) -> Override | None:
        """The override that the descriptor has now."""
        ...

    async def set(self, new: NewOverride) -> Override:
        """Stores an override in place of the one that its descriptor has, if any, under that one's id."""
        ...

    async def delete(self, override_id: UUID) -> Override | None:
        """Takes an override out; what it was. None: there is none."""
        ...

    async def count(self) -> int:
        """How many there are."""
        ...


class OverrideWork(Protocol):
    """One transaction of an operator; others that change overrides wait for its end.

    Leaving its context without `commit` undoes everything.
    """

    @property
    def overrides(self) -> Overrides: ...

    @property
    def audit(self) -> Audit: ...

    async def commit(self) -> None: ...


class OverrideStore(Protocol):
    """Overrides, for operators. What is committed is told to whoever follows them."""

    def unit_of_work(self) -> AbstractAsyncContextManager[OverrideWork]:
        """Opens a transaction."""
        ...

    async def list_overrides(self, domain: str, size: int, after: OverridePlace | None) -> OverridePage:
        """A page of a domain's overrides (empty: of all), the latest first; shorter than asked for if they are long."""
        ...


class AuditLog(Protocol):
    """What the rate limiter does outside of PostgreSQL, for the audit log."""

    async def record(self, entry: AuditEntry) -> None:
        """Writes an entry by itself."""
        ...
