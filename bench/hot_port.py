"""The hot port under load: what a call costs that a compiled handler answers, and one that goes up to Python."""

from __future__ import annotations

from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from bench import programs
from bench.calls import Generator, Load, Method
from bench.runs import Runs
from bench.servers import Server, grpcio_alone, ratelimiter, small_service, transport_alone
from bench.targets import at_least, below, ratios, told
from waypost.access.api_keys import new_key
from waypost.api.v1.link_service_pb2 import GetLinkRequest
from waypost.api.v1.rate_limit_service_pb2 import CheckRequest, RateLimitDescriptor, RateLimitEntry

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
HEALTH = Method("/grpc.health.v1.Health/Check")
ECHO = Method("/bench.Transport/Echo", b"\x0a\x04abcd")

WIDE, NARROW = "closed loop, 8 connections × 32 streams", "closed loop, 4 connections × 8 streams"
COMPILED, ALONE, GRPCIO = "hot port, health Check", "transport alone, echo", "grpcio alone, echo"
HOT, HOT_KEY = "hot port, up to Python", "hot port, up to Python, with an API key"
CONTROL = "control port, the same service"

RATE = 20_000
_CHECK_AGAINST, _UP_AGAINST = 25, 8
_P99_MS, _P999_MS = 1, 3


def closed(method: Method | None, *, wide: bool = True, keys: int = 1, descriptors: int = 1) -> Load:
    """A closed loop: 8 × 32 or 4 × 8 streams."""
    connections, streams = (8, 32) if wide else (4, 8)
    return Load(
        seconds=3,
        warmup=0.5,
        connections=connections,
        streams=streams,
        method=method,
        keys=keys,
        descriptors=descriptors,
    )


def is_compiled(server: Server, method: str) -> bool:
    """Whether a running server of ours has a compiled handler for the method of this path."""
    return method in compiled(_metrics(server))


def compiled_calls(server: Server, method: str) -> float:
    """How many calls of a method its compiled handler has answered so far."""
    return compiled(_metrics(server)).get(method, 0.0)


def compiled(page: str) -> dict[str, float]:
    """Of a page of metrics, the methods that have compiled handlers, with the calls that those have answered."""
    return {
        sample.labels["rpc_method"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "hot_port_handler_seconds_count"
    }


def _metrics(server: Server) -> str:
    with urlopen(server.metrics, timeout=5) as response:
        page: str = response.read().decode()
    return page


def throughput(runs: int) -> dict[str, Any]:
    """Calls a second on one core, against a grpcio server that only echoes, the better of its two loads."""
    measured = Runs(Generator(compiled=True), runs)
    transport, key = programs.transport(), new_key().text
    entry = RateLimitEntry(key="client", value="value-000001")
    check = CheckRequest(domain="bench", descriptors=[RateLimitDescriptor(entries=[entry])])
    up = Method("/waypost.api.v1.RateLimitService/Check", check.SerializeToString())
    link = GetLinkRequest(short_code="abcd").SerializeToString()
    keyed = Method("/waypost.api.v1.LinkService/GetLink", link, (("x-api-key", key),))
    judged = ALONE
    for number in range(runs):
        with transport_alone(transport) as server:
            measured.run(number, ALONE, WIDE, closed(ECHO), server)
        with ratelimiter(hot=True) as server:
            if is_compiled(server, HEALTH.path):
                judged = COMPILED
                measured.run(number, COMPILED, WIDE, closed(HEALTH), server)
        with small_service(key, hot=True) as server:
            measured.run(number, HOT, WIDE, closed(up), server)
            measured.run(number, HOT_KEY, WIDE, closed(keyed), server)
        with small_service(key) as server:
            measured.run(number, CONTROL, WIDE, closed(up), server)
            measured.run(number, CONTROL, NARROW, closed(up, wide=False), server)
        with grpcio_alone(echo=True) as server:
            measured.run(number, GRPCIO, WIDE, closed(up), server)
            measured.run(number, GRPCIO, NARROW, closed(up, wide=False), server)
    peer = [measured.rates(GRPCIO, label) for label in (WIDE, NARROW)]
    control = [measured.rates(CONTROL, label) for label in (WIDE, NARROW)]

    def against(name: str) -> list[float]:
        return ratios(measured.rates(name, WIDE), *peer)

    return measured.content() | {
        "targets": [
            at_least(f"compiled ({judged}) against {GRPCIO}", against(judged), "times", _CHECK_AGAINST),
            at_least(f"{HOT}, against {GRPCIO}", against(HOT), "times", _UP_AGAINST),
            told(f"{HOT_KEY}, against {GRPCIO}", against(HOT_KEY), "times"),
            told(f"{HOT}, against the {CONTROL}", ratios(measured.rates(HOT, WIDE), *control), "times"),
        ]
    }


def latency(runs: int) -> dict[str, Any]:
    """Latencies of compiled handlers in an open loop, from when each call was due."""
    measured = Runs(Generator(compiled=True), runs)
    transport = programs.transport()
    even, chance = (f"open loop, {RATE:,}/s{how}" for how in ("", " by chance"))

    def loads(method: Method | None) -> dict[str, Load]:
        common: dict[str, Any] = {"rate": RATE, "seconds": 4, "warmup": 1, "method": method}
        return {even: Load(**common), chance: Load(**common, poisson=True)}

    limits, judged = "hot port, ShouldRateLimit", ALONE
    for number in range(runs):
        with transport_alone(transport) as server:
            for label, load in loads(ECHO).items():
                measured.run(number, ALONE, label, load, server)
        with ratelimiter(hot=True) as server:
            if is_compiled(server, HEALTH.path):
                judged = COMPILED
                for label, load in loads(HEALTH).items():
                    measured.run(number, COMPILED, label, load, server)
            if is_compiled(server, SHOULD_RATE_LIMIT):
                measured.run(number, limits, chance, loads(None)[chance], server)

    def quantile(label: str, name: str) -> list[float]:
        return [run.latency_us[name] / 1000 for run in measured.of(judged, label)]

    late = [run.late_us["p99"] / 1000 for label in (even, chance) for run in measured.of(ALONE, label)]
    return measured.content() | {
        "targets": [
            target
            for label in (even, chance)
            for target in (
                below(f"{judged}, {label}: p99", quantile(label, "p99"), "ms", _P99_MS),
                below(f"{judged}, {label}: p99.9", quantile(label, "p99.9"), "ms", _P999_MS),
            )
        ]
        + [told(f"the generator's own part, with {ALONE}: 99 % of the calls left within", late, "ms")]
    }
