"""Answers to requests with an idempotency key, in PostgreSQL: kept in the transaction that they are the answer of."""

from __future__ import annotations

from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_session import LockTimeout, Session
from waypost.adapters.queries import QUERIES
from waypost.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from waypost.model import IdempotencyKey


class PostgresAnswers:
    """The keys that one transaction has to do with."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def claim(self, key: IdempotencyKey) -> bytes | None:
        """To be called first in a transaction: None, the key is this one's; else the answer that was given before.

        Waits for a rival; raises `IdempotencyKeyInUse` if that takes too long, `IdempotencyKeyReused` if the key came
        with another request.
        """
        try:
            claimed = await self._session.fetchval(QUERIES["claim_key"], *_columns(key), key.fingerprint)
        except LockTimeout as error:
            raise IdempotencyKeyInUse(key.key) from error
        if claimed:
            return None
        answer = await self.read(key)
        if answer is None:
            # Its 24 hours have just passed: the next attempt is the first again.
            raise IdempotencyKeyInUse(key.key, retry_after=0.1)
        return answer

    async def read(self, key: IdempotencyKey) -> bytes | None:
        """What was answered to this key, None if nothing was; raises `IdempotencyKeyReused`."""
        row = await self._session.fetchrow(QUERIES["read_answer"], *_columns(key))
        if row is None or row["answer"] is None:
            return None
        if row["fingerprint"] != key.fingerprint:
            raise IdempotencyKeyReused(key.key)
        answer: bytes = row["answer"]
        return answer

    async def keep(self, key: IdempotencyKey, answer: bytes) -> None:
        """Notes the answer for a key that was claimed in this transaction."""
        await self._session.execute(QUERIES["keep_answer"], *_columns(key), answer)


class PostgresAnswerSweep:
    """Forgets answers that are older than their 24 hours."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def forget_batch(self, limit: int) -> int:
        """Forgets at most `limit` answers; returns how many."""
        async with self._postgres.connection() as session:
            tag = await session.execute(QUERIES["forget_answers"], limit)
        return int(tag.removeprefix("DELETE "))


def _columns(key: IdempotencyKey) -> tuple[object, ...]:
    return key.workspace_id, key.principal, key.method, key.key
