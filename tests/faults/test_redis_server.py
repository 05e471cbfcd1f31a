"""One Redis under load is killed, frozen, restarted empty, or loses its scripts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from itertools import pairwise

import pytest
import redis

from tests.faults.redis_load import (
    BACK_SECONDS,
    DEADLINE,
    LIMIT,
    PATIENT,
    SLACK,
    WINDOW_US,
    Call,
    Log,
    all_have_ttl,
    load,
    run_for,
    spent_once,
)
from tests.support.redis import redis_server
from tests.support.redis_counters import DOMAIN, question, serving
from waypost.errors import StoreUnavailable

pytestmark = [pytest.mark.slow, pytest.mark.alone]


async def test_killed_and_started_empty() -> None:
    with redis_server() as server:
        async with serving(server.url, DEADLINE) as counters, load(counters) as log:
            for losses in range(1, 4):
                await run_for(log, 500)
                await asyncio.to_thread(server.kill)
                killed = time.monotonic()
                await asyncio.sleep(1)
                log.check_costs_little(killed + 0.1, time.monotonic())
                await asyncio.to_thread(server.start)
                back = await log.strict_after(time.monotonic())
                print(f"strict {back * 1000:.0f} ms after Redis answered")
                assert back <= BACK_SECONDS + log.late
                await all_have_ttl(server)
                log.check_admissions(losses)
        log.check_deadlines()
        print(log.outcomes(), f"doubts {counters.doubts}, loop late by {log.late * 1000:.0f} ms")


async def test_frozen_and_continued() -> None:
    with redis_server() as server:
        async with serving(server.url, DEADLINE) as counters, load(counters) as log:
            for _ in range(5):
                await run_for(log, 500)
                server.stop()
                frozen = time.monotonic()
                await asyncio.sleep(1)
                log.check_costs_little(frozen + 0.1, time.monotonic())
                server.cont()
                back = await log.strict_after(time.monotonic())
                print(f"strict {back * 1000:.0f} ms after Redis went on")
                assert back <= BACK_SECONDS + log.late
            await run_for(log, 500)
        log.check_deadlines()
        log.check_admissions()
        # What was in doubt may have been charged; it never was admitted twice, and no charge was lost.
        spent = {value for value, count in log.admitted().items()} - {log.calls[-1].value}
        missing = sum(LIMIT - log.admitted()[value] for value in spent)
        print(log.outcomes(), f"doubts {counters.doubts}, charged and not told {missing}")
        assert missing <= counters.doubts
        assert await all_have_ttl(server) >= len(spent)


async def test_scripts_flushed_all_the_time() -> None:
    with redis_server() as server:
        async with serving(server.url, PATIENT) as counters, load(counters) as log:
            for _ in range(200):
                await asyncio.to_thread(server.execute, "SCRIPT", "FLUSH")
                await asyncio.sleep(0.002)
            await run_for(log, 500)
            # Not later: what is under way at the end is in doubt for good.
            doubts = counters.doubts
        log.check_deadlines(PATIENT)
        log.check_admissions()
        # A flush is no fault: nothing fails, nothing is in doubt, every unit of each limit was told once.
        assert not log.reasons()
        assert doubts == 0
        spent = {call.value for call in log.calls} - {log.calls[-1].value}
        assert all(log.admitted()[value] == LIMIT for value in spent)


async def test_connections_cut_all_the_time() -> None:
    with redis_server() as server:
        async with serving(server.url, DEADLINE) as counters, load(counters) as log:
            for _ in range(30):
                await run_for(log, 50)
                await asyncio.to_thread(server.execute, "CLIENT", "KILL", "TYPE", "normal")
        log.check_deadlines()
        log.check_admissions()
        spent = {call.value for call in log.calls} - {log.calls[-1].value}
        assert sum(LIMIT - log.admitted()[value] for value in spent) <= counters.doubts


@pytest.mark.parametrize("persistence", [{"appendonly": "yes", "appendfsync": "no"}, {"save": "1 1"}])
async def test_no_key_without_ttl_after_a_crash_at_any_moment(persistence: dict[str, str]) -> None:
    chance = random.Random(5)
    found = 0
    with redis_server(persistence) as server:
        async with serving(server.url, DEADLINE) as counters, load(counters) as log:
            for losses in range(1, 11):
                await run_for(log, chance.randrange(30, 400))
                if "save" in persistence:
                    # Some that end, so that there is something to find, and some that are cut off. It saves by itself
                    # too, and then refuses to.
                    with contextlib.suppress(redis.ResponseError):
                        await asyncio.to_thread(server.execute, "SAVE" if losses % 3 == 0 else "BGSAVE")
                await asyncio.sleep(chance.random() * 0.02)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                found += await all_have_ttl(server)
                log.check_admissions(losses)
        assert found > 0
        log.check_deadlines()


async def test_no_key_without_ttl_at_any_moment() -> None:
    with redis_server() as server:
        async with serving(server.url, DEADLINE) as counters, load(counters) as log:
            for _ in range(20):
                await run_for(log, 50)
                await all_have_ttl(server)


async def test_replicas_whose_clocks_differ_decide_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks does so 5 seconds later, or earlier, than the one before, by its own clock."""
    apart = [0.0]
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + apart[0])
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(apart[0] * 1e9))
    with redis_server() as server:
        async with serving(server.url) as one, serving(server.url) as other:
            resets, admitted = [], 0
            for turn in range(60):
                apart[0] = 5.0 if turn % 2 else 0.0
                store = other if turn % 2 else one
                decision = (await store.decide(DOMAIN, [question("a", LIMIT, window_us=WINDOW_US)])).decisions[0]
                assert decision.remaining == max(0, LIMIT - 1 - turn)
                admitted += decision.allowed
                resets.append(decision.reset_after_us)
            assert admitted == LIMIT
            # Each turn is told a little less than the one before, whoever asks, never 5 seconds more or less.
            steps = [before - after for before, after in pairwise(resets)]
            assert all(0 < step < 1_000_000 for step in steps), steps


async def test_two_replicas_share_each_limit_under_load() -> None:
    with redis_server() as server:
        async with serving(server.url, PATIENT) as one, serving(server.url, PATIENT) as other, load(one, other) as log:
            await run_for(log, 3000)
        assert log.outcomes()["failed"] == 0
        spent = {call.value for call in log.calls} - {log.calls[-1].value}
        assert len(spent) > 10
        assert all(log.admitted()[value] == LIMIT for value in spent)


async def test_a_call_that_finds_no_connection_waits_for_the_next_one() -> None:
    with redis_server() as server:
        async with serving(server.url, 0.5) as counters:
            for _ in range(10):
                await asyncio.to_thread(server.execute, "CLIENT", "KILL", "TYPE", "normal")
                answers = await asyncio.gather(
                    *(counters.decide(DOMAIN, [spent_once("a")]) for _ in range(3)), return_exceptions=True
                )
                assert all(not isinstance(a, BaseException) or isinstance(a, StoreUnavailable) for a in answers)
            assert (await counters.decide(DOMAIN, [spent_once("b")])).admitted


def test_the_judge_sees_what_is_wrong() -> None:
    log = Log([Call(number * 0.01, 0.001, "a", "admitted") for number in range(LIMIT)])
    log.check_admissions()
    log.check_deadlines()
    log.calls.append(Call(1, DEADLINE + SLACK * 2, "a", "admitted"))
    with pytest.raises(AssertionError):
        log.check_admissions()
    with pytest.raises(AssertionError):
        log.check_deadlines()
    log.check_admissions(losses=1)
    slow = Log([Call(number * 0.01, DEADLINE, "a", "failed") for number in range(200)])
    with pytest.raises(AssertionError):
        slow.check_costs_little(0, 1000)
    log.late = 1.0
    log.check_deadlines()
