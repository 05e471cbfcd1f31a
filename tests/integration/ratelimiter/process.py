"""A rate limiter in a process of its own, with rules in a folder, and the ways to ask it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.support.process import Process, started
from waypost.api.v1 import rate_limit_service_pb2_grpc

FREE = {
    "WAYPOST_RATELIMITER_CONTROL_PORT": "0",
    "WAYPOST_RATELIMITER_METRICS_PORT": "0",
    "WAYPOST_RATELIMITER_HOT_PORT": "0",
}


class Limiter:
    """A running rate limiter."""

    def __init__(self, process: Process, ports: dict[str, Any], channel: grpc.Channel, http: httpx.Client) -> None:
        self.process = process
        self.control = int(ports["control"])
        self.hot = str(ports.get("hot", ""))
        self.http = http
        self.envoy: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
        self.api = rate_limit_service_pb2_grpc.RateLimitServiceStub(channel)

    def ask(self, domain: str, *descriptors: dict[str, str], hits: int = 0, **options: Any) -> Any:
        """Envoy's question."""
        request = rls_pb2.RateLimitRequest(
            domain=domain,
            descriptors=[
                RateLimitDescriptor(entries=[RateLimitDescriptor.Entry(key=k, value=v) for k, v in pairs.items()])
                for pairs in descriptors
            ],
            hits_addend=hits,
        )
        return self.envoy.ShouldRateLimit(request, timeout=10, **options)

    def sample(self, name: str, **labels: str) -> float | None:
        """One value of `/metrics`; None: it is not there."""
        for family in text_string_to_metric_families(self.http.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None


@contextlib.contextmanager
def limiter_running(rules: Path, port: str = "control", /, **settings: str) -> Iterator[Limiter]:
    """A rate limiter with the rules of a folder, for the time of the block, asked on its port "control" or "hot"."""
    with started("-m", "ratelimiter", **FREE, WAYPOST_LIMITS_DIR=str(rules), **settings) as process:
        ports = process.wait_for("serving")
        process.wait_for("ready")
        with (
            grpc.insecure_channel(ports["hot"] if port == "hot" else f"127.0.0.1:{ports['control']}") as channel,
            httpx.Client(base_url=f"http://127.0.0.1:{ports['metrics']}", trust_env=False, timeout=10) as http,
        ):
            yield Limiter(process, ports, channel, http)
