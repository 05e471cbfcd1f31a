"""The end of a transaction: made so, or undone."""

from __future__ import annotations

from waypost.adapters.postgres_session import Session, unavailable
from waypost.errors import DependencyUnavailable


class PostgresTransaction:
    """One transaction of READ COMMITTED, which somebody has begun on the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._over = False

    async def commit(self) -> None:
        """Makes it so. A caller who is cancelled from here on does not stop it.

        Raises `DependencyUnavailable` also when it is not known whether the server has done it.
        """
        if self._over:
            raise RuntimeError("this unit of work is over")
        self._over = True
        tag = await self._session.finish("COMMIT")
        if tag != "COMMIT":
            # The server rolls back, without an error, a transaction in which a statement has failed.
            raise unavailable()

    async def close(self) -> None:
        """Undoes what was not committed; never raises."""
        if self._over or self._session.broken:
            return
        self._over = True
        try:
            await self._session.execute("ROLLBACK")
        except DependencyUnavailable:
            pass  # the server undoes what it hears no more of
