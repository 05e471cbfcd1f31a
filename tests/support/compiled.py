"""The compiled handlers beside the servicers whose answers theirs have to equal, without a port between."""

from __future__ import annotations

from typing import Any

from envoy.service.ratelimit.v3 import rls_pb2
from prometheus_client import CollectorRegistry

import native
from native import Table
from ratelimiter import envoy_service, service
from ratelimiter.asking import Asked, Overrides
from ratelimiter.convert import from_check_request
from ratelimiter.envoy_convert import from_rate_limit_request
from ratelimiter.envoy_service import EnvoyRateLimitService
from ratelimiter.handlers import Checker, DecisionRecord
from ratelimiter.metrics import DecisionMetrics
from ratelimiter.offenders import Offenders
from ratelimiter.overrides.live import LiveOverrides
from ratelimiter.own_limiter import OwnLimiter
from ratelimiter.service import RateLimitService
from tests.support.hot_port import need_hot_port
from tests.support.limiter import INSIDE, Limiter
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.clock import SteadyClock
from waypost.rpc.context import CallContext

if not native.HOT_PORT:
    need_hot_port()

from native._answers import MOST_EVENTS, override_digest
from native._questions import StoreQuestion
from ratelimiter.compiled import METHODS, CompiledChecks, CompiledOptions, KeyBeginning
from ratelimiter.store_answers import StoreAnswers

SEED = b"both tables give up the same"


class Told:
    """What a limiter's decisions were told to: its metrics, and who was refused most."""

    def __init__(self, limiter: Limiter) -> None:
        self.registry = CollectorRegistry()
        self.metrics = DecisionMetrics(self.registry)
        self.offenders = Offenders(lambda: limiter.now_us)

    def on_decision(self, record: DecisionRecord) -> None:
        self.metrics.on_decision(record)
        self.offenders.on_decision(record)

    def decisions(self) -> dict[tuple[str, str, str], float]:
        """By rule, decision and mode."""
        return {
            (sample.labels["rule"], sample.labels["decision"], sample.labels["mode"]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "ratelimit_decisions_total"
        }

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


class Servicers:
    """The servicers with rules of a test's own, asked in Python, and what they told of it."""

    def __init__(
        self,
        *texts: str,
        table: Table | None = None,
        overrides: Overrides | None = None,
        shadow_mode: bool = False,
        headers: bool = True,
        strict: bool = False,
    ) -> None:
        self.limiter = Limiter(*texts)
        self.told = Told(self.limiter)
        self.checker = Checker(
            self.limiter.book,
            Table(seed=SEED) if table is None else table,
            lambda: self.limiter.now_us,
            self.limiter.store if strict else None,
            overrides=overrides,
            shadow_mode=shadow_mode,
            listeners=[self.told.on_decision],
        )
        self.service = RateLimitService(self.checker, self.limiter.book, OwnLimiter(self.checker))
        self.envoy_service = EnvoyRateLimitService(self.checker, headers=headers, shadow_mode=shadow_mode)

    def asked(self, envoy: bool, message: bytes) -> list[Asked]:
        """What limits a request would be asked for."""
        request = (
            from_rate_limit_request(rls_pb2.RateLimitRequest.FromString(message))
            if envoy
            else from_check_request(pb.CheckRequest.FromString(message))
        )
        return self.checker._ask(request)[1]

    async def ask(self, envoy: bool, message: bytes) -> bytes:
        """The answer, on the wire."""
        if envoy:
            request = rls_pb2.RateLimitRequest.FromString(message)
            answer = await self.envoy_service.ShouldRateLimit(request, call_context(envoy_service.METHOD))
        else:
            check = pb.CheckRequest.FromString(message)
            answer = await self.service.Check(check, call_context(f"{service.NAME}/Check"))
        return bytes(answer.SerializeToString())


class Compiled:
    """Compiled handlers of these rules; the time is that of `limiter`, as of the last call."""

    def __init__(
        self,
        *texts: str,
        table: Table | None = None,
        overrides: LiveOverrides | None = None,
        shadow_mode: bool = False,
        key_beginning: KeyBeginning | None = None,
        **options: Any,
    ) -> None:
        self.limiter = Limiter(*texts, shadow_mode=shadow_mode)
        self.table = Table(seed=SEED) if table is None else table
        self.told = Told(self.limiter)
        self.clock = SteadyClock()
        self.checks = CompiledChecks(
            self.limiter.book,
            self.table,
            self.clock,
            self.told.metrics,
            self.told.offenders,
            self.told.registry,
            overrides=overrides,
            options=CompiledOptions(shadow_mode=shadow_mode, **options),
            key_beginning=key_beginning,
        )

    def answer(
        self, envoy: bool, message: Any, metadata: tuple[tuple[str, str], ...] = (), timeout_us: int = -1
    ) -> tuple[bytes, list[tuple[str, str]]] | None:
        """An answer on the wire and its metadata; None: it goes up."""
        self.checks.answers.set_time(self.limiter.now_us)
        data = message if isinstance(message, bytes) else message.SerializeToString()
        return self.checks.answers.answer(envoy, data, metadata, timeout_us)

    def ask(self, envoy: bool, message: Any) -> Any:
        """An answer that must not go up, as a message."""
        answered = self.answer(envoy, message)
        assert answered is not None
        return (rls_pb2.RateLimitResponse if envoy else pb.CheckResponse).FromString(answered[0])


def call_context(method: str, *metadata: tuple[str, str]) -> CallContext:
    """Of a call from inside the mesh."""
    context = CallContext(method, metadata, "unix:", None)
    context.identity = INSIDE
    return context


def envoy_request(*descriptors: Any, hits: int = 0, domain: str = "test") -> Any:
    """What Envoy asks; a descriptor is a dict of its entries, or that and hits of its own."""
    request = rls_pb2.RateLimitRequest(domain=domain, hits_addend=hits)
    _describe(request, descriptors)
    return request


def check_request(*descriptors: Any, hits: int = 0, domain: str = "test") -> Any:
    """The same in our own API."""
    request = pb.CheckRequest(domain=domain, hits_addend=hits)
    _describe(request, descriptors)
    return request


def _describe(request: Any, descriptors: Any) -> None:
    for described in descriptors:
        entries, hits = described if isinstance(described, tuple) else (described, None)
        descriptor = request.descriptors.add()
        for key, value in entries.items():
            descriptor.entries.add(key=key, value=value)
        if hits is not None:
            if isinstance(request, pb.CheckRequest):
                descriptor.hits_addend = hits
            else:
                descriptor.hits_addend.value = hits


__all__ = [
    "METHODS", "MOST_EVENTS", "Compiled", "Servicers", "StoreAnswers", "StoreQuestion", "Told", "call_context",
    "check_request", "envoy_request", "override_digest",
]  # fmt: skip
