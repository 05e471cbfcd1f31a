"""The rate limiter as another process: asks it over gRPC, and falls back to a local one while it is away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration
from prometheus_client import CollectorRegistry, Counter

from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub
from waypost.breaker import Breaker
from waypost.errors import DependencyUnavailable
from waypost.model import Budget, LimitDecision, LimitEntry
from waypost.ports import Limiter
from waypost.rpc.channel import outgoing_metadata

if TYPE_CHECKING:
    from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceAsyncStub


class RemoteLimiter:
    """Asks the ratelimiter within `timeout` seconds; whatever goes wrong, `fallback` decides, marked `degraded`.

    A breaker keeps a dead or frozen ratelimiter from costing each call its timeout. `registry` gets a count of the
    decisions, by what was decided and by whom: `remote` is the ratelimiter, `local` the fallback.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        fallback: Limiter,
        timeout: float,
        breaker: Breaker,
        *,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._stub: RateLimitServiceAsyncStub = RateLimitServiceStub(channel)
        self._fallback = fallback
        self._timeout = timeout
        self._breaker = breaker
        decisions = Counter("ratelimit_decisions_total", "Limits asked about.", ["decision", "mode"], registry=registry)
        self._decisions = {
            (allowed, degraded): decisions.labels(
                "allowed" if allowed else "refused", "local" if degraded else "remote"
            )
            for allowed in (True, False)
            for degraded in (True, False)
        }

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        """One decision; never raises for a limiter that is away."""
        decision = await self._decide(domain, descriptors, hits)
        self._decisions[decision.allowed, decision.degraded].inc()
        return decision

    async def _decide(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int) -> LimitDecision:
        if self._breaker.allow():
            try:
                response = await self._stub.Check(
                    _request(domain, descriptors, hits), timeout=self._timeout, metadata=outgoing_metadata()
                )
            except grpc.RpcError as error:
                # A limiter that says no to the question itself is alive; only silence and distress open the breaker.
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    self._breaker.success()
                else:
                    self._breaker.failure()
            else:
                self._breaker.success()
                return _decision(response)
        return replace(await self._fallback.check(domain, descriptors, hits), degraded=True)

    async def probe(self) -> None:
        """A health check: raises `DependencyUnavailable` when the ratelimiter does not answer."""
        try:
            await self._stub.Check(_request("waypost", [[LimitEntry("health", "probe")]], 1), timeout=self._timeout * 5)
        except grpc.RpcError as error:
            # The driver's text names addresses, and health is shown to anyone.
            raise DependencyUnavailable("ratelimiter") from error


def _decision(response: pb.CheckResponse) -> LimitDecision:
    refusing = next((status for status in response.statuses if not status.allowed), None)
    # A request that is never admitted is told of no time.
    waits = response.allowed or response.HasField("retry_after")
    retry_after = _seconds(response.retry_after) if waits else None
    told = refusing
    if response.allowed:
        # Of what admits, the one that will refuse first.
        limited = (status for status in response.statuses if status.HasField("window"))
        told = min(limited, key=lambda status: status.remaining, default=None)
    return LimitDecision(
        response.allowed,
        "" if told is None else told.rule,
        retry_after,
        budget=None if told is None else _budget(told),
    )


def _budget(status: pb.DescriptorStatus) -> Budget | None:
    if not status.HasField("window"):
        return None
    return Budget(status.limit, _seconds(status.window), status.remaining, _seconds(status.reset_after))


def _seconds(span: Duration) -> float:
    return span.ToTimedelta().total_seconds()


def _request(domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int) -> pb.CheckRequest:
    return pb.CheckRequest(
        domain=domain,
        descriptors=[
            pb.RateLimitDescriptor(entries=[pb.RateLimitEntry(key=e.key, value=e.value) for e in entries])
            for entries in descriptors
        ],
        hits_addend=hits,
    )
