"""All workspaces in PostgreSQL: the list of them, and new ones. As the role `waypost_operator`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from waypost.accounts import Workspace
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_accounts import workspace_of
from waypost.adapters.postgres_audit import PostgresAudit
from waypost.adapters.postgres_transaction import PostgresTransaction
from waypost.adapters.queries import QUERIES
from waypost.audit import AuditEntry


class PostgresWorkspaces:
    """Which workspaces there are. Every call raises `DependencyUnavailable` when the server does not answer."""

    def __init__(self, operators: Postgres) -> None:
        self._postgres = operators

    async def list_workspaces(
        self, workspace_ids: Sequence[UUID] | None, size: int, after: UUID | None
    ) -> Sequence[Workspace]:
        """At most `size` workspaces by id, those behind `after`; of those with these ids, or None: of all."""
        async with self._postgres.connection() as session:
            if workspace_ids is None:
                rows = await session.fetch(QUERIES["list_workspaces"], after, size)
            else:
                rows = await session.fetch(QUERIES["list_workspaces_of"], list(workspace_ids), after, size)
        return [workspace_of(row) for row in rows]

    async def create_workspace(
        self, workspace_id: UUID, name: str, owner_subject: str, entries: Sequence[AuditEntry]
    ) -> Workspace:
        """Makes a workspace, with an owner unless `owner_subject` is empty, and writes the entries; all or nothing."""
        async with self._postgres.connection() as session:
            await session.execute("BEGIN")
            transaction = PostgresTransaction(session)
            try:
                row = await session.fetchrow(QUERIES["insert_workspace"], workspace_id, name)
                if row is None:
                    raise LookupError("a stored workspace has gone")
                if owner_subject:
                    await session.execute(QUERIES["insert_owner"], workspace_id, owner_subject)
                await PostgresAudit(session).add_all(entries)
                await transaction.commit()
            finally:
                await transaction.close()
        return workspace_of(row)
