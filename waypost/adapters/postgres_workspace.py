"""Transactions that see one workspace's rows: row-level security goes by a setting that ends with the transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_session import Session


def begin_in(workspace_id: UUID, mode: str = "READ WRITE") -> str:
    """Begins a transaction that sees the workspace, in one round trip. LOCAL: a plain SET would outlive it."""
    return f"BEGIN {mode}; SET LOCAL waypost.workspace = '{UUID(int=workspace_id.int)}'"


@asynccontextmanager
async def reading_in(postgres: Postgres, workspace_id: UUID) -> AsyncIterator[Session]:
    """Lends a connection in a transaction that sees the workspace and changes nothing."""
    async with postgres.connection() as session:
        await session.execute(begin_in(workspace_id, "READ ONLY"))
        try:
            yield session
        finally:
            if not session.broken:
                session.leave("ROLLBACK")
