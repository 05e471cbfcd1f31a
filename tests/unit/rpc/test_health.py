"""Health: known of every dependency, never waited for, and told the same by gRPC and by HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.service import LIMITS, LINKS, NOT_SERVING, SERVING, Dependency, Limits, Links, running
from tests.support.waiting import until
from waypost.rpc.health import Check, Health
from waypost.telemetry import Metrics


async def test_a_service_without_dependencies_is_ready_at_once() -> None:
    async with running(Links()) as service:
        await service.status("ok")
        assert await service.check() == SERVING
        assert await service.check(LINKS) == SERVING
        status, body = await service.ready()
    assert status == 200
    assert (body["status"], body["service"], body["checks"]) == ("ok", "test", {})
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() is not None


async def test_every_service_has_a_health_of_its_name() -> None:
    async with running(Links(), Limits()) as service:
        await service.status("ok")
        assert [await service.check(name) for name in ("", LINKS, LIMITS)] == [SERVING] * 3
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await service.check("waypost.api.v1.Nobody")
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_check_says_what_is_in_use() -> None:
    versions = iter(("generation 1", "generation 2"))
    checks = [replace(Dependency().check("rules", required=False), detail=lambda: next(versions))]
    async with running(Links(), checks=checks) as service:
        for version in ("generation 1", "generation 2"):
            assert (await service.ready())[1]["checks"]["rules"]["detail"] == version


async def test_a_dependency_that_is_down_degrades_but_does_not_stop_the_service() -> None:
    postgres, limiter = Dependency(), Dependency()
    checks = [postgres.check("postgres"), limiter.check("ratelimiter", required=False)]
    async with running(Links(), checks=checks) as service:
        await service.status("ok")
        assert await service.check("postgres") == SERVING
        postgres.error = ConnectionError("nobody there")
        await service.status("degraded")
        assert await service.check("postgres") == NOT_SERVING
        assert [await service.check(name) for name in ("", LINKS, "ratelimiter")] == [SERVING] * 3
        status, body = await service.ready()
        assert status == 200
        assert body["checks"]["postgres"].items() >= {"status": "down", "error": "nobody there"}.items()
        assert body["checks"]["ratelimiter"]["status"] == "ok"
        assert "error" not in body["checks"]["ratelimiter"]
        assert datetime.fromisoformat(body["checks"]["postgres"]["checked_at"])
        assert (await service.get()).short_code == "abc"
        postgres.error = None
        await service.status("ok")
        assert await service.check("postgres") == SERVING


async def test_a_change_is_one_line_in_the_log_and_no_change_is_none() -> None:
    postgres = Dependency()
    async with running(Links(), checks=[postgres.check()]) as service:
        await service.status("ok")
        postgres.error = ConnectionError("nobody there")
        await service.status("degraded")
        started = postgres.started
        await until(lambda: postgres.started > started + 5)
        (up,), (down,) = service.log.of("dependency up"), service.log.of("dependency down")
    assert (up["dependency"], up["level"]) == ("postgres", "info")
    assert (down["dependency"], down["level"], down["error"]) == ("postgres", "warning", "nobody there")


async def test_until_every_required_dependency_answered_once_it_is_starting() -> None:
    postgres, feed, limiter = Dependency(up=False), Dependency(), Dependency(up=False)
    checks = [postgres.check("postgres"), feed.check("feed"), limiter.check("ratelimiter", required=False)]
    async with running(Links(), checks=checks) as service:
        await until(lambda: min(postgres.started, feed.started, limiter.started) > 2)
        status, body = await service.ready()
        assert (status, body["status"]) == (503, "starting")
        assert [await service.check(name) for name in ("", LINKS)] == [NOT_SERVING] * 2
        # It is alive, and serves whoever asks: readiness is advice to balancers.
        alive = await service.http.get("/health")
        assert (alive.status_code, alive.json()["status"]) == (200, "starting")
        assert (await service.get()).short_code == "abc"
        postgres.error = None
        await service.status("degraded")
        assert (await service.ready())[0] == 200
        assert await service.check() == SERVING
        limiter.error = None
        await service.status("ok")


async def test_what_it_can_do_without_is_asked_before_it_says_how_it_is_and_soon_again_if_it_is_down() -> None:
    limiter = Dependency(up=False)
    # Asked so seldom that the second time would come long after this test.
    check = Check("ratelimiter", limiter.check().probe, required=False, interval=60.0)
    async with running(Links(), checks=[check]) as service:
        await service.status("degraded")
        (ready,) = service.log.of("ready")
        (down,) = service.log.of("dependency down")
        assert ready["ts"] >= down["ts"], "not ready before it was asked"
        limiter.error = None
        await service.status("ok")


async def test_it_is_enough_that_each_answered_once_even_if_never_all_together() -> None:
    postgres, feed = Dependency(), Dependency(up=False)
    async with running(Links(), checks=[postgres.check("postgres"), feed.check("feed")]) as service:
        await until(lambda: bool(service.log.of("dependency up")))
        postgres.error = ConnectionError("away again")
        await until(lambda: len(service.log.of("dependency down")) == 2)
        assert (await service.ready())[1]["status"] == "starting"
        feed.error = None
        await service.status("degraded")
        assert (await service.ready())[0] == 200


async def test_a_required_dependency_that_goes_away_later_does_not_make_it_unready() -> None:
    postgres = Dependency()
    async with running(Links(), checks=[postgres.check()]) as service:
        await service.status("ok")
        postgres.error = ConnectionError("away")
        await service.status("degraded")
        assert (await service.ready())[0] == 200


@pytest.mark.parametrize("heeds_cancellation", [True, False])
async def test_a_probe_without_an_answer_blocks_nothing(heeds_cancellation: bool) -> None:
    postgres, limiter = Dependency(), Dependency()
    postgres.heeds_cancellation = heeds_cancellation
    async with running(Links(), checks=[postgres.check(timeout=0.05), limiter.check("ratelimiter")]) as service:
        await service.status("ok")
        postgres.hangs = True
        service.stack.callback(postgres.release)
        await until(lambda: postgres.at_work == 1)
        async with asyncio.timeout(2):
            for _ in range(5):
                assert await service.check() == SERVING
                assert (await service.ready())[0] == 200
                assert (await service.http.get("/health")).status_code == 200
        await service.status("degraded")
        assert await service.check("postgres") == NOT_SERVING
        assert (await service.ready())[1]["checks"]["postgres"]["error"] == "no answer within 0.05 s"
        # The others are still looked at, and no heap of probes grows.
        started = limiter.started
        await until(lambda: limiter.started > started + 5)
        assert postgres.at_work <= 1
        if heeds_cancellation:
            # One that is given up makes room for the next.
            started = postgres.started
            await until(lambda: postgres.started > started + 2)
        postgres.release()
        await service.status("ok")


async def test_before_the_first_answer_it_says_so() -> None:
    postgres = Dependency()
    postgres.hangs = True
    async with running(Links(), checks=[postgres.check(timeout=30)]) as service:
        assert [await service.check(name) for name in ("", LINKS, "postgres")] == [NOT_SERVING] * 3
        status, body = await service.ready()
        assert status == 503
        assert body["checks"]["postgres"] == {"status": "down", "checked_at": None, "error": "not checked yet"}
        assert await service.sample("dependency_up", dependency="postgres") == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "TimeoutError"),
        (asyncio.CancelledError(), "the check was cancelled"),
        (ExceptionGroup("both", [OSError("a"), OSError("b")]), "both (2 sub-exceptions)"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_probe_raises_the_next_one_is_made(error: BaseException, text: str) -> None:
    raised: list[BaseException] = [error]

    async def probe() -> None:
        if raised:
            raise raised[0]

    async with running(Links(), checks=[Check("postgres", probe, interval=0.01)]) as service:

        async def told() -> bool:
            return bool((await service.ready())[1]["checks"]["postgres"].get("error") == text)

        await until(told)
        raised.clear()
        await service.status("ok")


async def test_watching_shows_every_change() -> None:
    postgres = Dependency(up=False)
    async with running(Links(), checks=[postgres.check()]) as service:
        whole = service.health.Watch(health_pb2.HealthCheckRequest(service=""))
        part = service.health.Watch(health_pb2.HealthCheckRequest(service="postgres"))
        nobody = service.health.Watch(health_pb2.HealthCheckRequest(service="nobody"))
        assert (await whole.read()).status == NOT_SERVING
        assert (await part.read()).status == NOT_SERVING
        assert (await nobody.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        postgres.error = None
        assert (await whole.read()).status == SERVING
        assert (await part.read()).status == SERVING
        postgres.error = ConnectionError("away")
        assert (await part.read()).status == NOT_SERVING
        service.stop.set()
        assert (await whole.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await whole.read()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_watchers_that_leave_are_forgotten() -> None:
    async with running(Links()) as service:
        before = len(asyncio.all_tasks())
        streams = [service.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
        for stream in streams:
            await stream.read()
        assert len(asyncio.all_tasks()) > before
        for stream in streams:
            stream.cancel()
        await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_draining_is_for_good() -> None:
    health = Health("test", [LINKS], [Dependency().check()], Metrics("test"))
    await health.begin()
    running = asyncio.create_task(health.run())
    await until(lambda: health.ready)
    await health.drain()
    await asyncio.sleep(0.05)
    assert (health.status, health.ready) == ("draining", False)
    running.cancel()
    await asyncio.wait([running])


async def test_a_drain_before_the_start_is_over_is_not_undone_by_it() -> None:
    postgres = Dependency(up=False)
    health = Health("test", [LINKS], [postgres.check()], Metrics("test"))
    await health.begin()
    running = asyncio.create_task(health.run())
    await health.drain()
    postgres.error = None
    started = postgres.started
    await until(lambda: postgres.started > started + 2)
    assert health.status == "draining"
    running.cancel()
    await asyncio.wait([running])
