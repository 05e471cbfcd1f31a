"""Metrics: rate, errors and duration by method, what runs here, how the loop fares; callers cannot add to them."""

from __future__ import annotations

import asyncio
import os
import platform
import time

import grpc
import pytest

import waypost
from tests.support.service import GET_LINK, Dependency, Held, Links, echo, fail, running
from tests.support.waiting import until
from waypost import errors
from waypost.rpc.context import CallContext


async def test_calls_are_counted_by_method_and_code() -> None:
    links = Links()
    async with running(links) as service:
        for _ in range(3):
            await service.get()
        links.script.get_link = fail(errors.LinkNotFound("abc"))
        await service.refusal()
        links.script.get_link = fail(RuntimeError())
        await service.refusal()
        for code, count in (("OK", 3), ("NOT_FOUND", 1), ("INTERNAL", 1)):
            labels = {"rpc_method": GET_LINK, "rpc_status_code": code}
            assert await service.sample("rpc_server_call_duration_seconds_count", **labels) == count


async def test_durations_fall_into_their_buckets() -> None:
    links, held = Links(), Held()
    links.script.get_link = held
    async with running(links) as service:
        call = asyncio.ensure_future(service.get())
        await held.has(1)
        await asyncio.sleep(0.06)
        held.go.set()
        await call
        for bound, count in (("0.05", 0), ("10.0", 1), ("+Inf", 1)):
            assert await service.sample("rpc_server_call_duration_seconds_bucket", le=bound) == count
        assert 0.05 < await service.sample("rpc_server_call_duration_seconds_sum") < 10


async def test_a_caller_cannot_add_labels() -> None:
    async with running(Links()) as service:
        for number in range(20):
            with pytest.raises(grpc.aio.AioRpcError):
                await service.channel.unary_unary(f"/invented.Service/Method{number}")(b"")
        samples = (await service.samples())["rpc_server_call_duration_seconds_count"]
    counted = {(labels["rpc_method"], labels["rpc_status_code"]): value for labels, value in samples}
    assert counted.pop(("unknown", "UNIMPLEMENTED")) == 20
    # From the start, so that the first call of a method is an increase.
    assert counted[GET_LINK, "OK"] == 0
    assert all((code, value) == ("OK", 0) for (_, code), value in counted.items())


async def test_the_names_and_labels_that_dashboards_rely_on() -> None:
    postgres = Dependency()
    async with running(Links(), checks=[postgres.check()]) as service:
        await service.get()
        await service.status("ok")
        found = {name: sorted(samples[0][0]) for name, samples in (await service.samples()).items()}
        text = (await service.http.get("/metrics")).text
    for name, labels in {
        "rpc_server_call_duration_seconds_count": ["rpc_method", "rpc_status_code"],
        "rpc_server_call_duration_seconds_sum": ["rpc_method", "rpc_status_code"],
        "rpc_server_call_duration_seconds_bucket": ["le", "rpc_method", "rpc_status_code"],
        "inflight": [],
        "event_loop_lag_seconds": [],
        "dependency_up": ["dependency"],
        "build_info": ["python", "service", "version"],
        "process_start_time_seconds": [],
        "process_resident_memory_bytes": [],
    }.items():
        assert found[name] == labels
    assert "# TYPE load_shed_total counter" in text


async def test_build_info_says_what_runs_here() -> None:
    async with running(Links()) as service:
        samples = await service.samples()
    assert samples["build_info"] == [
        ({"service": "test", "version": waypost.__version__, "python": platform.python_version()}, 1)
    ]
    (_, started) = samples["process_start_time_seconds"][0]
    assert started == pytest.approx(time.time(), abs=60)
    (_, memory) = samples["process_resident_memory_bytes"][0]
    assert os.sysconf("SC_PAGE_SIZE") < memory < 2**33


async def test_dependencies_are_gauges() -> None:
    postgres, limiter = Dependency(), Dependency(up=False)
    checks = [postgres.check("postgres"), limiter.check("ratelimiter", required=False)]
    async with running(Links(), checks=checks) as service:
        await service.status("degraded")
        assert await service.sample("dependency_up", dependency="postgres") == 1
        assert await service.sample("dependency_up", dependency="ratelimiter") == 0
        postgres.error, limiter.error = ConnectionError("away"), None

        async def swapped() -> bool:
            return (await service.sample("dependency_up", dependency="postgres")) == 0 and (
                await service.sample("dependency_up", dependency="ratelimiter")
            ) == 1

        await until(swapped)


async def test_a_blocked_loop_shows_as_lag_and_passes() -> None:
    async def block(request: object, context: CallContext) -> object:
        time.sleep(0.3)
        return await echo(request, context)

    links = Links()
    links.script.get_link = block
    async with running(links) as service:
        await service.get()

        async def lagging() -> bool:
            return await service.sample("event_loop_lag_seconds") > 0.15

        await until(lagging)


async def test_metrics_is_what_prometheus_reads() -> None:
    async with running(Links()) as service:
        response = await service.http.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain; version=")
        assert (await service.http.get("/nothing")).status_code == 404
        assert (await service.http.post("/metrics")).status_code == 405
