"""What the use cases of accounts ask of the store beside `waypost.ports`. All calls raise `DependencyUnavailable`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from waypost.access.identity import Membership
from waypost.accounts import Workspace
from waypost.audit import AuditEntry


class Memberships(Protocol):
    """Who is a member where."""

    async def read_memberships(self, subject: str) -> Sequence[Membership]:
        """The workspaces that somebody is a member of, by id; at most 1,000."""
        ...


class Workspaces(Protocol):
    """All workspaces, whoever calls: the use cases say which of them."""

    async def list_workspaces(
        self, workspace_ids: Sequence[UUID] | None, size: int, after: UUID | None
    ) -> Sequence[Workspace]:
        """At most `size` workspaces by id, those behind `after`; of those with these ids, or None: of all."""
        ...

    async def create_workspace(
        self, workspace_id: UUID, name: str, owner_subject: str, entries: Sequence[AuditEntry]
    ) -> Workspace:
        """Makes a workspace, with an owner unless `owner_subject` is empty, and writes the entries; all or nothing."""
        ...
