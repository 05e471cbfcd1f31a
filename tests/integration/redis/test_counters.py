"""The store: calls share a connection, each gets its own answer or a failure in time, and nothing is lost or mixed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from native.limits import Algorithm
from native.request import Elsewhere, Mode, Verdict
from tests.support.certificates import self_signed
from tests.support.ports import free_port
from tests.support.redis import RedisServer, redis_server
from tests.support.redis_counters import DOMAIN, HOUR_US, healthy, question, serving
from tests.support.waiting import until
from waypost.adapters.redis_counters import RedisCounters, RedisUnusable
from waypost.errors import DependencyUnavailable, StoreUnavailable

SLACK = 2.0
"""Seconds that a busy machine may take to come round to a task whose time is over."""


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    """The server answers nothing in the block."""
    server.stop()
    try:
        yield
    finally:
        server.cont()


async def test_a_request_is_decided_and_charged(counters: RedisCounters) -> None:
    asked = [question("a", 5, 2), question("b", 3, 1, descriptor=1, algorithm=Algorithm.TOKEN_BUCKET)]
    first = await counters.decide(DOMAIN, asked)
    assert first.admitted
    assert [decision.remaining for decision in first.decisions] == [3, 2]
    second = await counters.decide(DOMAIN, asked)
    assert [decision.remaining for decision in second.decisions] == [1, 1]
    third = await counters.decide(DOMAIN, asked)
    assert not third.admitted
    assert [(decision.allowed, decision.remaining) for decision in third.decisions] == [(False, 1), (True, 1)]
    assert third.decisions[0].retry_after_us == third.decisions[0].reset_after_us


async def test_what_other_stores_said_counts(counters: RedisCounters) -> None:
    assert not (await counters.decide(DOMAIN, [question()], Elsewhere(refused=True))).admitted
    assert (await counters.decide(DOMAIN, [], Elsewhere(quotas=2, quotas_refusing=1))).admitted
    assert await counters.decide(DOMAIN, [], Elsewhere(refused=True)) == Verdict(False, ())
    quota = question("b", 0, mode=Mode.QUOTA)
    assert not (await counters.decide(DOMAIN, [quota], Elsewhere(quotas=1, quotas_refusing=1))).admitted
    assert (await counters.decide(DOMAIN, [quota], Elsewhere(quotas=1))).admitted


async def test_a_look_charges_nothing(counters: RedisCounters) -> None:
    asked = [question("a", 5, 5), question("a", 5, 5), question("b", 0)]
    for _ in range(2):
        looks = await counters.look(DOMAIN, asked)
        assert [(decision.allowed, decision.remaining) for decision in looks] == [(True, 5), (True, 5), (False, 0)]
    assert await counters.look(DOMAIN, []) == ()


async def test_a_reset_forgets_counters_and_says_how_many(counters: RedisCounters) -> None:
    asked = [question("a", 2), question("b", 2), question("b", 2)]
    await counters.decide(DOMAIN, asked)
    assert await counters.reset(DOMAIN, [*asked, question("c")]) == 2
    assert [decision.remaining for decision in await counters.look(DOMAIN, asked)] == [2, 2, 2]
    assert await counters.reset(DOMAIN, asked) == 0
    assert await counters.reset(DOMAIN, []) == 0


async def test_domains_are_apart(counters: RedisCounters) -> None:
    for domain in ("shop", "", "a}b", "~", "sh{op", "ショップ", "x" * 255):
        assert (await counters.decide(domain, [question(limit=1)])).admitted
    assert not (await counters.decide("a}b", [question(limit=1)])).admitted


async def test_concurrent_calls_share_a_write(server: RedisServer, counters: RedisCounters) -> None:
    def reads() -> int:
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            return int(client.info("stats")["total_reads_processed"])

    before = reads()
    verdicts = await asyncio.gather(*(counters.decide(DOMAIN, [question()]) for _ in range(200)))
    assert reads() - before < 20
    left = sorted(verdict.decisions[0].remaining for verdict in verdicts)
    assert left == list(range(1_000_000 - 200, 1_000_000))


async def test_one_slow_answer_does_not_hold_back_what_is_sent(counters: RedisCounters, server: RedisServer) -> None:
    with frozen(server):
        calls = [asyncio.create_task(counters.decide(DOMAIN, [question()])) for _ in range(3)]
        await asyncio.sleep(0)
        calls += [asyncio.create_task(counters.decide(DOMAIN, [question()])) for _ in range(3)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*calls)) == 6


async def test_a_cancelled_call_takes_no_answer_of_another(counters: RedisCounters) -> None:
    chance = random.Random(7)
    told: Counter[int] = Counter()

    async def ask(number: int) -> None:
        # The limit says whose answer it is.
        limit = 1000 * number
        asked = question(str(number), limit)
        for _ in range(20):
            call = asyncio.create_task(counters.decide(DOMAIN, [asked]))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                call.cancel()
            try:
                decision = (await call).decisions[0]
            except asyncio.CancelledError:
                told["cancelled"] += 1  # type: ignore[index]
                continue
            assert limit - 20 <= decision.remaining < limit
            told["answered"] += 1  # type: ignore[index]

    await asyncio.gather(*(ask(number) for number in range(1, 51)))
    assert min(told.values()) > 100
    assert counters.doubts == 0


async def test_a_call_that_is_cancelled_before_it_is_sent_is_not_sent(counters: RedisCounters) -> None:
    call = asyncio.create_task(counters.decide(DOMAIN, [question("never")]))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await counters.decide(DOMAIN, [question("other")])
    assert (await counters.look(DOMAIN, [question("never")]))[0].remaining == 1_000_000


async def test_a_script_that_was_flushed_is_sent_again_and_nothing_is_lost(
    server: RedisServer, counters: RedisCounters
) -> None:
    left: list[int] = []

    async def ask() -> None:
        for _ in range(40):
            left.append((await counters.decide(DOMAIN, [question()])).decisions[0].remaining)

    flushes = 0
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(ask()) for _ in range(25)]
        while not all(caller.done() for caller in callers):
            await asyncio.to_thread(server.execute, "SCRIPT", "FLUSH")
            flushes += 1
    assert flushes > 2
    assert sorted(left) == list(range(1_000_000 - 1000, 1_000_000))


async def test_a_call_fails_at_its_deadline_and_then_none_waits(server: RedisServer) -> None:
    async with serving(server.unix_url, 0.05) as counters:
        with frozen(server):
            waits = []
            for _ in range(6):
                began = time.perf_counter()
                with pytest.raises(StoreUnavailable):
                    await counters.decide(DOMAIN, [question()])
                waits.append(time.perf_counter() - began)
            assert waits[0] >= 0.05
            assert max(waits) < 0.05 + SLACK
            # It is known to be away by now: nobody waits any more.
            assert waits[-1] < waits[0]
            assert not await healthy(counters)
            assert counters.doubts >= 1
        await until(lambda: healthy(counters))
        assert (await counters.decide(DOMAIN, [question("b", 5)])).decisions[0].remaining == 4


async def test_a_frozen_server_is_found_out_though_no_caller_is_patient(server: RedisServer) -> None:
    async with serving(server.unix_url, 0.05) as counters:
        with frozen(server):

            async def fails_at_once() -> bool:
                try:
                    async with asyncio.timeout(0.01):
                        await counters.decide(DOMAIN, [question()])
                except TimeoutError:
                    return False
                except StoreUnavailable:
                    return True
                return False

            await until(fails_at_once)
        await until(lambda: healthy(counters))


async def test_the_queue_is_bounded(server: RedisServer) -> None:
    async with serving(server.unix_url, capacity=10) as counters:
        with frozen(server):
            calls = [asyncio.create_task(counters.decide(DOMAIN, [question()])) for _ in range(15)]
            done, waiting = await asyncio.wait(calls, timeout=0.05)
            assert len(done) == 5
            for call in done:
                with pytest.raises(StoreUnavailable, match="overloaded"):
                    call.result()
        assert len(await asyncio.gather(*waiting)) == 10


async def test_it_starts_without_a_server_and_serves_when_there_is_one() -> None:
    with redis_server() as server:
        server.kill()
        async with RedisCounters(server.url, 0.05) as counters:
            for _ in range(5):
                with pytest.raises(StoreUnavailable):
                    await counters.decide(DOMAIN, [question()])
            with pytest.raises(DependencyUnavailable) as raised:
                await counters.check()
            assert str(raised.value).startswith("redis cannot be used: ConnectionError: ")
            server.spawn()
            await until(lambda: healthy(counters))
            assert (await counters.decide(DOMAIN, [question()])).admitted


async def test_a_server_without_memory_refuses_and_says_so(server: RedisServer, counters: RedisCounters) -> None:
    server.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="OutOfMemory"):
            await counters.decide(DOMAIN, [question()])
        with pytest.raises(DependencyUnavailable, match="redis cannot be used: OutOfMemory"):
            await counters.check()
    finally:
        server.execute("CONFIG", "SET", "maxmemory", "0")
    assert await healthy(counters)
    assert (await counters.decide(DOMAIN, [question()])).decisions[0].remaining == 999_999


async def test_a_replica_is_not_asked() -> None:
    with redis_server() as server:
        async with serving(server.url, 0.5) as counters:
            server.execute("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(StoreUnavailable):
                await counters.decide(DOMAIN, [question(limit=0)])
            assert not await healthy(counters)
            server.execute("REPLICAOF", "NO", "ONE")
            await until(lambda: healthy(counters))


async def test_a_connection_that_is_killed_is_made_again(server: RedisServer, counters: RedisCounters) -> None:
    for _ in range(3):
        server.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: healthy(counters))
        assert (await counters.decide(DOMAIN, [question()])).admitted


async def test_it_identifies_itself(server: RedisServer) -> None:
    server.execute("ACL", "SETUSER", "limiter", "on", ">pass word", "~wp:*", "+@all", "-role")
    async with serving(f"redis://limiter:pass%20word@127.0.0.1:{server.port}/3") as counters:
        await counters.decide(DOMAIN, [question()])
    with redis.Redis(port=server.port, db=3) as client:
        assert len([key for key in client.scan_iter() if DOMAIN.encode() in key]) == 1
    async with RedisCounters(f"redis://limiter:wrong@127.0.0.1:{server.port}", 0.2) as counters:
        with pytest.raises(StoreUnavailable) as caught:
            await counters.decide(DOMAIN, [question()])
        assert "wrong" not in caught.value.reason.replace("WRONGPASS", "")


async def test_it_speaks_tls() -> None:
    with redis_server() as plain:
        pair = self_signed(names=("localhost", "127.0.0.1"))
        chain, key = plain.folder / "chain.pem", plain.folder / "key.pem"
        chain.write_text(pair.chain)
        key.write_text(pair.key)
        port = free_port()
        for name, value in {"tls-cert-file": chain, "tls-key-file": key, "tls-auth-clients": "no"}.items():
            plain.execute("CONFIG", "SET", name, str(value))
        plain.execute("CONFIG", "SET", "tls-port", port)
        url = f"rediss://127.0.0.1:{port}"
        async with serving(f"{url}?ssl_ca_certs={chain}", connect_timeout=1.0) as counters:
            assert (await counters.decide(DOMAIN, [question()])).admitted
        async with RedisCounters(url, 0.2, connect_timeout=1.0) as counters:
            with pytest.raises(StoreUnavailable):
                await counters.decide(DOMAIN, [question()])


async def test_a_closed_store_fails_what_waits(server: RedisServer) -> None:
    async with serving(server.unix_url) as counters:
        with frozen(server):
            call = asyncio.create_task(counters.decide(DOMAIN, [question()]))
            await asyncio.sleep(0.01)
            await counters.__aexit__(None, None, None)
            with pytest.raises(StoreUnavailable):
                await call


async def test_numbers_beyond_what_the_script_knows_are_cut_off(counters: RedisCounters) -> None:
    verdict = await counters.decide(DOMAIN, [question(limit=2**63 - 1, hits=2**60, window_us=HOUR_US)])
    assert verdict.decisions[0].remaining == 0
    huge = question("b", 1, 1, algorithm=Algorithm.TOKEN_BUCKET, window_us=2**52, burst=2**50)
    assert (await counters.decide(DOMAIN, [huge])).decisions[0].remaining == 2**50 - 1


async def test_health_sees_a_user_that_may_not_read_or_write(server: RedisServer) -> None:
    server.execute("ACL", "SETUSER", "half", "on", ">secret", "~wp:*", "+eval", "+evalsha", "+time", "+role", "+get")
    try:
        async with RedisCounters(f"redis://half:secret@127.0.0.1:{server.port}", 1.0) as counters:

            async def found_out() -> bool:
                try:
                    await counters.check()
                except RedisUnusable as error:
                    return "can't run this command" in str(error)
                return False

            await until(found_out)
    finally:
        server.execute("ACL", "DELUSER", "half")
