"""Idempotency keys in PostgreSQL: one of many rivals is first, the others get its answer, for a day."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from tests.support.links import add, new_link
from tests.support.postgres import Database
from tests.support.waiting import until
from waypost.access.claims import MAX_SUBJECT
from waypost.adapters.postgres import Postgres
from waypost.adapters.postgres_answers import PostgresAnswerSweep
from waypost.adapters.postgres_links import PostgresStorage
from waypost.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from waypost.model import DEFAULT_WORKSPACE, IdempotencyKey
from waypost.ports import Storage

KEY = IdempotencyKey(DEFAULT_WORKSPACE, "anonymous", "CreateLink", "k-1", b"f" * 32)


async def ask(storage: Storage, key: IdempotencyKey = KEY, answer: bytes = b"answer", code: str = "abc1234") -> bytes:
    """Makes a link once for each key."""
    async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
        before = await work.answers.claim(key)
        if before is not None:
            return before
        assert await add(work.links, new_link(code)) is not None
        await work.answers.keep(key, answer)
        await work.commit()
    return answer


async def test_the_second_gets_what_the_first_was_answered(storage: Storage) -> None:
    assert await ask(storage) == b"answer"
    assert await ask(storage, answer=b"another") == b"answer"


@pytest.mark.parametrize("answer", [b"", b"\0\xff" * 3, b"x" * 1_000_000])
async def test_answers_are_kept_byte_for_byte(storage: Storage, answer: bytes) -> None:
    await ask(storage, answer=answer)
    assert await ask(storage, answer=b"another") == answer


async def test_another_request_under_the_same_key_is_refused(storage: Storage) -> None:
    await ask(storage)
    with pytest.raises(IdempotencyKeyReused) as caught:
        await ask(storage, replace(KEY, fingerprint=b"g" * 32))
    assert caught.value.key == "k-1"


async def test_the_longest_name_of_a_caller_is_no_obstacle(storage: Storage) -> None:
    key = replace(KEY, principal=f"user:{'x' * MAX_SUBJECT}")
    assert await ask(storage, key) == await ask(storage, key, b"another") == b"answer"


async def test_an_answer_is_of_its_workspace(storage: Storage) -> None:
    await ask(storage)
    elsewhere = replace(KEY, workspace_id=UUID(int=2))
    assert await storage.read_answer(KEY) == b"answer"
    assert await storage.read_answer(elsewhere) is None
    async with storage.unit_of_work(elsewhere.workspace_id) as work:
        assert await work.answers.claim(elsewhere) is None


@pytest.mark.parametrize("change", [{"principal": "other"}, {"method": "DeleteLink"}, {"key": "K-1"}])
async def test_keys_are_told_apart_by_everything(storage: Storage, change: dict[str, str]) -> None:
    await ask(storage)
    assert await ask(storage, replace(KEY, **change), b"own", "other12") == b"own"  # type: ignore[arg-type]


async def test_what_was_undone_left_no_answer(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError):
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            assert await work.answers.claim(KEY) is None
            await work.answers.keep(KEY, b"answer")
            raise ZeroDivisionError
    assert await ask(storage, answer=b"second") == b"second"


async def test_rivals_wait_for_the_first_and_get_its_answer(database: Database) -> None:
    async with Postgres(database.url("waypost_api"), max_size=10) as pool:
        storage = PostgresStorage(pool, "https://way.example")
        answers = await asyncio.gather(*[ask(storage, answer=f"answer {number}".encode()) for number in range(10)])
    assert len(set(answers)) == 1


async def test_the_next_is_first_when_the_first_gives_up(storage: Storage, owner: asyncpg.Connection) -> None:
    claimed, give_up = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            await work.answers.claim(KEY)
            claimed.set()
            await give_up.wait()

    giving_up = asyncio.create_task(first())
    await claimed.wait()
    second = asyncio.create_task(ask(storage, answer=b"second"))

    async def waits() -> bool:
        return bool(await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await until(waits)
    give_up.set()
    await giving_up
    assert await second == b"second"


async def test_who_waits_too_long_is_told_to_come_back(database: Database) -> None:
    async with Postgres(database.url("waypost_api"), max_size=2, command_timeout=0.4) as pool:
        storage = PostgresStorage(pool, "https://way.example")
        async with storage.unit_of_work(DEFAULT_WORKSPACE) as work:
            await work.answers.claim(KEY)
            with pytest.raises(IdempotencyKeyInUse) as caught:
                await ask(storage)
        assert (caught.value.key, caught.value.retry_after) == ("k-1", 1.0)
        assert await ask(storage) == b"answer", "the pool is as good as before"


async def test_after_a_day_the_key_is_free(storage: Storage, owner: asyncpg.Connection) -> None:
    await ask(storage)
    await owner.execute("UPDATE idempotency_keys SET created_at = now() - interval '23 hours 59 minutes'")
    assert await ask(storage) == b"answer"
    await owner.execute("UPDATE idempotency_keys SET created_at = now() - interval '24 hours'")
    assert await ask(storage, replace(KEY, fingerprint=b"g" * 32), b"new", "other12") == b"new"
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys WHERE created_at > now() - interval '1 minute'")


async def test_the_sweep_forgets_what_is_older_than_a_day(
    storage: Storage, sweeper: Postgres, owner: asyncpg.Connection
) -> None:
    for number in range(5):
        await ask(storage, replace(KEY, key=f"k-{number}"), code=f"code{number}")
    await owner.execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key <> 'k-3'")
    sweep = PostgresAnswerSweep(sweeper)
    assert [await sweep.forget_batch(3) for _ in range(3)] == [3, 1, 0]
    assert [row["key"] for row in await owner.fetch("SELECT key FROM idempotency_keys")] == ["k-3"]
