"""The rate limiter's servicers with rules of a test's own and a clock that it moves, over a real port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from envoy.service.ratelimit.v3 import rls_pb2_grpc

from native import Table
from ratelimiter.app import MESSAGE_CAPS
from ratelimiter.asking import Overrides
from ratelimiter.envoy_service import EnvoyRateLimitService
from ratelimiter.handlers import Checker, DecisionRecord
from ratelimiter.own_limiter import OwnLimiter
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import Rules
from ratelimiter.service import RateLimitService
from tests.support.memory_store import MemoryCounterStore
from tests.support.service import Running, running
from waypost.access.identity import MESH, Identity
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.override_ports import AuditLog

START_US = 1_700_000_000_250_001
EDGE = (("x-waypost-edge", "1"),)
INSIDE = Identity(MESH, address="local")


class Limiter:
    """A limiter of these rules, by file name, with a store or without. What it decided is in `told`."""

    def __init__(
        self,
        *texts: str,
        strict: bool = False,
        overrides: Overrides | None = None,
        audit: AuditLog | None = None,
        shadow_mode: bool = False,
        **options: Any,
    ) -> None:
        self.now_us = START_US
        rules = Rules.parse({f"{index}.yaml": text for index, text in enumerate(texts)})
        self.book = RuleBook(rules, datetime(2026, 1, 2, tzinfo=UTC))
        self.store = MemoryCounterStore(lambda: self.now_us)
        self.table = Table()
        self.told: list[DecisionRecord] = []
        self.checker = Checker(
            self.book,
            self.table,
            lambda: self.now_us,
            self.store if strict else None,
            overrides,
            shadow_mode=shadow_mode,
            listeners=[self.told.append],
        )
        self.service = RateLimitService(self.checker, self.book, OwnLimiter(self.checker), audit)
        self.envoy_service = EnvoyRateLimitService(self.checker, shadow_mode=shadow_mode, **options)

    @contextlib.asynccontextmanager
    async def serving(self, identity: Identity = INSIDE, **options: Any) -> AsyncIterator[Serving]:
        """The limiter on a port, called by `identity`."""
        async with running(
            self.service, self.envoy_service, identity=identity, message_caps=MESSAGE_CAPS, **options
        ) as service:
            yield Serving(service)


class Serving:
    """A limiter that is served, and stubs to call it."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self.stub = service.limits
        self.envoy: Any = rls_pb2_grpc.RateLimitServiceStub(service.channel)


def descriptor(hits: int | None = None, **pairs: str) -> pb.RateLimitDescriptor:
    """A descriptor of these entries, perhaps with hits of its own."""
    return pb.RateLimitDescriptor(
        entries=[pb.RateLimitEntry(key=key, value=value) for key, value in pairs.items()], hits_addend=hits
    )


def check(domain: str, *descriptors: pb.RateLimitDescriptor, hits: int = 0) -> pb.CheckRequest:
    """A request of our own API."""
    return pb.CheckRequest(domain=domain, descriptors=descriptors, hits_addend=hits)
