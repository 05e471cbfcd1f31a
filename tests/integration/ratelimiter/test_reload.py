"""A running rate limiter whose folder of rules changes under it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.support.process import Process, run, started
from tests.support.waiting import until
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1 import rate_limit_service_pb2_grpc as pb_grpc

PORTS = {
    "WAYPOST_RATELIMITER_CONTROL_PORT": "0",
    "WAYPOST_RATELIMITER_METRICS_PORT": "0",
    "WAYPOST_RATELIMITER_HOT_PORT": "0",
}


def text(limit: int) -> str:
    return f"domain: d\ndescriptors: [{{key: k, rate_limit: {{unit: year, requests_per_unit: {limit}}}}}]\n"


@dataclass(frozen=True)
class Limiter:
    """It, and the folder that it serves."""

    folder: Path
    process: Process
    address: str
    http: httpx.Client

    def write(self, content: str) -> None:
        """Replaces the only file."""
        (self.folder / ".new").write_text(content)
        (self.folder / ".new").replace(self.folder / "d.yaml")

    def ready(self) -> dict[str, Any]:
        """What `/ready` shows; it is ready whatever is wrong with the rules."""
        answer = self.http.get("/ready")
        assert answer.status_code == 200
        shown: dict[str, Any] = answer.json()
        return shown

    def metric(self, name: str) -> float:
        """A metric of the rules."""
        (value,) = (
            sample.value
            for family in text_string_to_metric_families(self.http.get("/metrics").text)
            for sample in family.samples
            if sample.name == f"ratelimit_rules_{name}"
        )
        return float(value)


@pytest.fixture
def limiter(tmp_path: Path) -> Iterator[Limiter]:
    (tmp_path / "d.yaml").write_text(text(100))
    with started("-m", "ratelimiter", WAYPOST_LIMITS_DIR=str(tmp_path), **PORTS) as process:
        ports = process.wait_for("serving")
        process.wait_for("ready")
        with httpx.Client(base_url=f"http://127.0.0.1:{ports['metrics']}", trust_env=False) as http:
            yield Limiter(tmp_path, process, f"127.0.0.1:{ports['control']}", http)


async def test_good_rules_come_into_force_and_bad_ones_are_told(limiter: Limiter) -> None:
    assert limiter.ready()["checks"]["rules"]["detail"].startswith("generation 1, loaded at ")
    limiter.write("domain: d\ndescriptors: [{key: k, rate_limit: {unit: fortnight, requests_per_unit: 1}}]\n")
    problem = f"{limiter.folder.name}/d.yaml: descriptors[0].rate_limit.unit: invalid rate limit unit 'fortnight'"
    assert limiter.process.wait_for("rules refused")["problems"][0].startswith(problem)
    await until(lambda: limiter.ready()["status"] == "degraded")
    shown = limiter.ready()["checks"]["rules"]
    assert shown["error"].startswith(f"generation 1 goes on serving; {problem}")
    assert shown["detail"].startswith("generation 1, ")
    assert (limiter.metric("generation"), limiter.metric("reload_failures_total")) == (1, 1)
    async with grpc.aio.insecure_channel(limiter.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert await allowed(channel, 1) == 1

    limiter.write(text(200))
    assert limiter.process.wait_for("rules loaded")["generation"] == 2
    await until(lambda: limiter.ready()["status"] == "ok")
    assert limiter.ready()["checks"]["rules"]["detail"].startswith("generation 2, ")
    assert (limiter.metric("generation"), limiter.metric("reload_failures_total")) == (2, 1)


async def test_calls_during_reloads_are_all_counted(limiter: Limiter) -> None:
    reloaded = asyncio.Event()
    async with grpc.aio.insecure_channel(limiter.address) as channel:

        async def load() -> int:
            count = 0
            while not reloaded.is_set():
                count += await allowed(channel, 10)
            # More than what is left can be.
            return count + await allowed(channel, 700)

        calls = asyncio.create_task(load())
        for version in range(2, 7):
            limiter.write(text(100 * version))
            await until(lambda wanted=version: limiter.metric("generation") == wanted)  # type: ignore[misc]
        reloaded.set()
        assert await calls == 600


async def allowed(channel: grpc.aio.Channel, calls: int) -> int:
    """How many of so many calls, ten of them at a time, are admitted."""
    stub: Any = pb_grpc.RateLimitServiceStub(channel)
    descriptor = pb.RateLimitDescriptor(entries=[pb.RateLimitEntry(key="k", value="x")])
    request = pb.CheckRequest(domain="d", descriptors=[descriptor])
    count = 0
    for _ in range(0, calls, 10):
        answers = await asyncio.gather(*(stub.Check(request, timeout=10) for _ in range(min(10, calls))))
        count += sum(answer.allowed for answer in answers)
    return count


async def test_a_hangup_has_the_rules_read_at_once_and_answered_in_the_log(limiter: Limiter) -> None:
    def answers(event: str) -> list[dict[str, Any]]:
        return [line for line in limiter.process.log if line["event"] == event]

    for generation in (2, 3):
        # Nothing has changed, so that it is the signal alone that has them read.
        limiter.process.signal(signal.SIGHUP)
        await until(lambda: len(answers("rules loaded")) == generation - 1)  # noqa: B023 - awaited here
        assert answers("rules loaded")[-1]["generation"] == limiter.metric("generation") == generation
    limiter.write("domain: d\nspec: 1\n")
    limiter.process.wait_for("rules refused")
    refused = len(answers("rules refused"))
    limiter.process.signal(signal.SIGHUP)
    await until(lambda: len(answers("rules refused")) > refused)
    assert answers("rules refused")[-1]["problems"] == [
        f"{limiter.folder.name}/d.yaml: unknown key 'spec' (domain, descriptors, compat)"
    ]
    assert limiter.metric("generation") == 3
    async with grpc.aio.insecure_channel(limiter.address) as channel:
        assert await allowed(channel, 10) == 10


def test_a_start_with_bad_rules_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("domain: d\nspec: 1\n")
    done = run("-m", "ratelimiter", WAYPOST_LIMITS_DIR=str(tmp_path), **PORTS)
    assert done.returncode == 2
    assert done.stderr == (
        f"ratelimiter: WAYPOST_LIMITS_DIR: {tmp_path.name}/d.yaml: unknown key 'spec' (domain, descriptors, compat)\n"
    )
