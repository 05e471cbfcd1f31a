"""The Redis that Sentinels watch fails over under load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.faults.redis_load import BACK_SECONDS, DEADLINE, PATIENT, all_have_ttl, load, run_for
from tests.support.redis import RedisServer, Watched, sentinel_trio
from tests.support.redis_counters import serving
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Master, replica, and Sentinels that see a death after 0.3 seconds."""
    with sentinel_trio() as watched:
        yield watched


async def promoted(watched: Watched, before: RedisServer) -> float:
    """Waits until the Sentinels name another master; when (monotonic seconds)."""

    async def another() -> bool:
        return await asyncio.to_thread(watched.master) is not before

    await until(another, 30)
    return time.monotonic()


async def test_master_killed(watched: Watched) -> None:
    master = watched.master()
    async with serving(watched.url, DEADLINE) as counters, load(counters) as log:
        await run_for(log, 500)
        await asyncio.to_thread(master.kill)
        killed = time.monotonic()
        named = await promoted(watched, master)
        back = await log.strict_after(named)
        print(f"another master after {named - killed:.2f} s, strict {back * 1000:.0f} ms later")
        assert back <= BACK_SECONDS + log.late
        await run_for(log, 500)
        await all_have_ttl(watched.master())
    log.check_deadlines()
    # Redis copies to replicas later: what the last moment charged may be lost.
    log.check_admissions(losses=1)


async def test_master_frozen_and_back_as_a_replica(watched: Watched) -> None:
    master = watched.master()
    async with serving(watched.url, DEADLINE) as counters, load(counters) as log:
        await run_for(log, 500)
        master.stop()
        named = await promoted(watched, master)
        back = await log.strict_after(named)
        print(f"strict {back * 1000:.0f} ms after another was named")
        assert back <= BACK_SECONDS + log.late
        master.cont()

        async def demoted() -> bool:
            return bool((await asyncio.to_thread(master.execute, "ROLE"))[0] == b"slave")

        await until(demoted, 30)
        await run_for(log, 1000)
        assert await asyncio.to_thread(watched.master) is not master
    log.check_deadlines()
    log.check_admissions(losses=1)


async def test_roles_exchanged_while_both_live(watched: Watched) -> None:
    async with serving(watched.url, DEADLINE) as counters, load(counters) as log:
        for exchanges in range(1, 3):
            await run_for(log, 500)
            master = await asyncio.to_thread(watched.master)
            await asyncio.to_thread(watched.sentinels[0].execute, "SENTINEL", "FAILOVER", "waypost")
            named = await promoted(watched, master)
            back = await log.strict_after(named)
            print(f"strict {back * 1000:.0f} ms after another was named")
            assert back <= BACK_SECONDS + log.late
            log.check_admissions(losses=exchanges)

            async def settled(former: RedisServer = master) -> bool:
                role = await asyncio.to_thread(former.execute, "ROLE")
                return bool(role[0] == b"slave" and role[3] == b"connected")

            await until(settled, 30)
    log.check_deadlines()


async def test_a_frozen_sentinel_is_passed_over(watched: Watched) -> None:
    watched.sentinels[0].stop()
    async with serving(watched.url, DEADLINE) as counters, load(counters) as log:
        await run_for(log, 300)
        await asyncio.to_thread(watched.servers[0].execute, "CLIENT", "KILL", "TYPE", "normal")
        cut = time.monotonic()
        back = await log.strict_after(cut)
        print(f"strict {back * 1000:.0f} ms after the connection was cut")
        assert back <= BACK_SECONDS + log.late
    log.check_deadlines()
    log.check_admissions()


async def test_sentinels_away_change_nothing(watched: Watched) -> None:
    async with serving(watched.url, PATIENT) as counters, load(counters) as log:
        for sentinel in watched.sentinels:
            await asyncio.to_thread(sentinel.kill)
        await run_for(log, 2000)
    log.check_admissions()
    assert log.outcomes()["failed"] == 0
