"""Bad clients of a rate limiter's compiled port: they are refused, it holds no more than it may, others are served."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.hot_attacks import ATTACKS, End
from tests.support.hot_port import need_hot_port
from tests.support.process import ROOT, Process, started
from tests.support.waiting import until
from waypost.api.v1.link_service_pb2 import GetLinkRequest
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

need_hot_port()

RULES = "domain: shop\ndescriptors: [{key: client, rate_limit: {unit: second, requests_per_unit: 1000000}}]\n"

MEBIBYTE = 1 << 20
CONNECTIONS, PENDING, WAITING = 100, 500, 16 * MEBIBYTE
SETTINGS = {
    "WAYPOST_RATELIMITER_CONTROL_PORT": "0",
    "WAYPOST_RATELIMITER_METRICS_PORT": "0",
    "WAYPOST_RATELIMITER_HOT_PORT": "0",
    "WAYPOST_HOT_MAX_CONNECTIONS": str(CONNECTIONS),
    "WAYPOST_HOT_MAX_STREAMS": "200",
    "WAYPOST_HOT_MAX_PENDING": str(PENDING),
    "WAYPOST_HOT_MAX_WAITING_BYTES": str(WAITING),
    # A caller has so long for its message, and to take its answer.
    "WAYPOST_DEFAULT_DEADLINE_MS": "2000",
    "WAYPOST_HOT_WRITE_SECONDS": "2",
}
MOST_GROWN = (
    2 * WAITING  # what calls hold, with answers up to twice that
    + WAITING  # what Python has taken over of it
    + CONNECTIONS * 192 * 1024  # what the library keeps of a connection, and an unsent chunk
    + PENDING * 16 * 1024  # a task of Python's for each call
)
PATIENCE = 30.0


class Port:
    """The compiled port of a process, and what can be seen of it from outside."""

    def __init__(self, process: Process, ports: dict[str, Any], http: httpx.Client) -> None:
        self.process, self.number = process, int(ports["hot"].rpartition(":")[2])
        self._http = http

    async def samples(self) -> dict[str, float]:
        """What it counts, by names and labels."""
        page = (await asyncio.to_thread(self._http.get, "/metrics")).text
        return {
            " ".join((sample.name.removeprefix("hot_port_"), *sample.labels.values())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name.startswith("hot_port_") and "rpc_method" not in sample.labels
        }

    async def holds(self, connections: int) -> bool:
        """Whether so many connections are open, and nothing else is held."""
        samples = await self.samples()
        return (samples["connections"], samples["in_flight"], samples["waiting_bytes"]) == (connections, 0, 0)

    def files(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def memory(self) -> int:
        """Bytes that it has in memory; the most that it has had is counted from here on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.most_memory()

    def most_memory(self) -> int:
        """The most bytes that it has had in memory."""
        lines = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if line
        )
        return 1024 * int(lines["VmHWM"].split()[0])


@contextlib.contextmanager
def port_of(*program: str, **settings: str) -> Iterator[Port]:
    """The compiled port of a program for the time of the block."""
    with started("-m", *program, **settings) as process:
        ports = process.wait_for("serving")
        process.wait_for("ready")
        with httpx.Client(base_url=f"http://127.0.0.1:{ports['metrics']}", trust_env=False, timeout=PATIENCE) as http:
            yield Port(process, ports, http)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    """Of a rate limiter with tight bounds."""
    rules = tmp_path_factory.mktemp("limits")
    (rules / "shop.yaml").write_text(RULES)
    with port_of("ratelimiter", **SETTINGS, WAYPOST_LIMITS_DIR=str(rules)) as found:
        yield found


class Steady:
    """A client on a connection of its own that asks one thing after the other, and keeps how it was answered."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._health: Any = health_pb2_grpc.HealthStub(channel)
        self._limits: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
        self.answers: Counter[str] = Counter()

    async def ask(self) -> None:
        """Asks for its health, and whether something is allowed."""
        entry = RateLimitDescriptor.Entry(key="client", value="steady")
        request = rls_pb2.RateLimitRequest(domain="shop", descriptors=[RateLimitDescriptor(entries=[entry])])
        calls = (
            self._health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE),
            self._limits.ShouldRateLimit(request, timeout=PATIENCE),
        )
        for call in calls:
            try:
                await call
            except grpc.aio.AioRpcError as error:
                self.answers[f"{error.code().name}: {error.details()}"] += 1
            else:
                self.answers["OK"] += 1

    async def keep_asking(self) -> None:
        """Asks until it is cancelled."""
        while True:
            await self.ask()


@contextlib.asynccontextmanager
async def steady(port: Port) -> AsyncIterator[Steady]:
    """A well-behaved client, whose calls must all go well."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port.number}", options=options) as channel:
        client = Steady(channel)
        await client.ask()
        yield client
        await client.ask()
        assert list(client.answers) == ["OK"], client.answers


async def attack(name: str, port: Port, done: Callable[[], Awaitable[bool]]) -> None:
    """Attacks from another process until its last client is gone; those that nobody cuts off until it is `done`."""
    how = ATTACKS[name]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.hot_attacks",
        name,
        str(port.number),
        f"--connections={how.connections}",
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        if how.end is End.STAY:
            await until(done, PATIENCE)
            process.kill()
            await process.wait()
        else:
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("name", ATTACKS)
async def test_bad_clients_are_refused_and_others_are_served(name: str, port: Port) -> None:
    async with steady(port) as client:
        await until(lambda: port.holds(1), PATIENCE)
        files, memory, before = port.files(), port.memory(), await port.samples()
        caps = [f"cap_hits_total {cap}" for cap in ATTACKS[name].caps]

        async def not_hit() -> list[str]:
            samples = await port.samples()
            return [cap for cap in caps if samples[cap] <= before[cap]]

        async def all_hit() -> bool:
            return not await not_hit()

        asking = asyncio.create_task(client.keep_asking())
        await attack(name, port, all_hit)
        asking.cancel()
        await asyncio.wait([asking])
        assert client.answers["OK"] > 2

        await until(lambda: port.holds(1), PATIENCE)
        await until(lambda: port.files() <= files, PATIENCE)
        assert await not_hit() == []
        assert (await port.samples())["accepted_total"] > before["accepted_total"]
        assert port.most_memory() - memory < MOST_GROWN


CALLS = 3
KILLED = """
import sys, grpc
from waypost.api.v1.link_service_pb2 import GetLinkRequest
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
with grpc.insecure_channel(sys.argv[1]) as channel:
    links = LinkServiceStub(channel)
    calls = [links.GetLink.future(GetLinkRequest(short_code="held"), timeout=30) for _ in range(int(sys.argv[2]))]
    [call.result() for call in calls]
"""


async def test_servicers_are_cancelled_when_their_client_is_killed() -> None:
    settings = {"WAYPOST_DEFAULT_DEADLINE_MS": "60000", "WAYPOST_MAX_DEADLINE_MS": "60000"}
    with port_of("tests.support.echo_server", **settings) as port:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port.number}") as channel:
            links: Any = LinkServiceStub(channel)
            address = f"127.0.0.1:{port.number}"
            with subprocess.Popen([sys.executable, "-c", KILLED, address, str(CALLS)], cwd=ROOT) as client:
                try:

                    async def are_up() -> bool:
                        return (await port.samples())["in_flight"] == CALLS

                    await until(are_up, PATIENCE)
                finally:
                    client.send_signal(signal.SIGKILL)
            # Nobody lets go of what is held: its servicer ends by being cancelled, or not at all.
            answer = await links.GetLink(GetLinkRequest(short_code="other"), timeout=PATIENCE)
            assert answer.short_code == "other"
            await until(lambda: port.holds(1), PATIENCE)
            assert (await port.samples())["cancelled_total"] == CALLS
