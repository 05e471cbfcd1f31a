"""What the use cases around abuse ask of the store; see `waypost.ports`. Every call raises `DependencyUnavailable`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from waypost.abuse import BlockableLink, BlockedPage, NewReport, Place, Report, ReportPage, ReportQuery
from waypost.ports import Audit, Outbox


class ReportIntake(Protocol):
    """Takes reports in, by anybody of any link."""

    async def add(self, report: NewReport) -> bool:
        """Stores a report, unless as many of its link are open as are kept. False: there is no such link."""
        ...


class BlockableLinks(Protocol):
    """The links of all workspaces inside one unit of work."""

    async def lock(self, short_code: str) -> BlockableLink | None:
        """The link with exactly this code, in whatever state; nobody else changes it until the unit of work is over."""
        ...

    async def block(self, link: BlockableLink, reason: str) -> BlockableLink:
        """Blocks a locked link, or gives a blocked one another reason. Returns it as it is now."""
        ...

    async def unblock(self, link: BlockableLink) -> BlockableLink:
        """Puts a locked link back; its last reason stays. Returns it as it is now."""
        ...


class Reports(Protocol):
    """The reports inside one unit of work."""

    async def close(self, report_id: UUID) -> tuple[Report, bool] | None:
        """Closes a report; the report as it is now, and whether it was open before. None: there is none."""
        ...

    async def close_all(self, link: BlockableLink) -> int:
        """Closes the open reports of a locked link; how many there were."""
        ...


class AbuseWork(Protocol):
    """One transaction of an operator, over all workspaces. Leaving its context without `commit` undoes everything."""

    @property
    def links(self) -> BlockableLinks: ...

    @property
    def reports(self) -> Reports: ...

    @property
    def outbox(self) -> Outbox: ...

    @property
    def audit(self) -> Audit: ...

    async def commit(self) -> None: ...


class AbuseStore(Protocol):
    """Reports and blocked links, for operators."""

    def unit_of_work(self) -> AbstractAsyncContextManager[AbuseWork]:
        """Opens a transaction."""
        ...

    async def list_reports(self, query: ReportQuery) -> ReportPage:
        """A page of reports, the oldest first; shorter than asked for if they are large."""
        ...

    async def list_blocked(self, size: int, after: Place | None) -> BlockedPage:
        """A page of blocked links, the latest first; shorter than asked for if they are large."""
        ...
