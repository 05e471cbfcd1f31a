"""Rate limits and overrides by their contract, in memory: what clients are tested against.

There is one rule, `shop.route.key`: two requests a minute for each descriptor of just these keys, overrides apart. What
was counted stays counted, the minute never ends.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from tests.support.answering import Answering
from waypost import errors
from waypost.api.v1 import limit_override_service_pb2 as override_pb
from waypost.api.v1 import limit_override_service_pb2_grpc, rate_limit_service_pb2_grpc
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.errors import InvalidFields

NOW = datetime(2031, 1, 1, tzinfo=UTC)
"""When the server began; each change is made a second after the one before."""
DOMAIN, RULE, LIMIT = "shop", "shop.route.key", 2
MINUTE = Duration(seconds=60)

_Key = tuple[str, tuple[tuple[str, str], ...]]


class LimitServer(
    Answering,
    rate_limit_service_pb2_grpc.RateLimitServiceServicer,
    limit_override_service_pb2_grpc.LimitOverrideServiceServicer,
):
    """The two services. `problems`: of a newer version of the rules; `page_size`: most rules of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.used: Counter[_Key] = Counter()
        self.overrides: dict[_Key, override_pb.LimitOverride] = {}
        self.problems: list[str] = []
        self.page_size = 100
        self._seconds = 0

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds both to a server."""
        rate_limit_service_pb2_grpc.add_RateLimitServiceServicer_to_server(self, server)
        limit_override_service_pb2_grpc.add_LimitOverrideServiceServicer_to_server(self, server)

    async def Check(self, request: pb.CheckRequest, context: Any) -> Any:
        return await self.answer("Check", request, context, self._check)

    async def BatchCheck(self, request: pb.BatchCheckRequest, context: Any) -> Any:
        def act(request: pb.BatchCheckRequest) -> pb.BatchCheckResponse:
            return pb.BatchCheckResponse(responses=map(self._check, request.requests))

        return await self.answer("BatchCheck", request, context, act)

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> Any:
        return await self.answer("Explain", request, context, self._explain)

    async def ListRules(self, request: pb.ListRulesRequest, context: Any) -> Any:
        def act(request: pb.ListRulesRequest) -> pb.ListRulesResponse:
            answer = pb.ListRulesResponse(generation=3, problems=self.problems)
            answer.loaded_at.FromDatetime(NOW)
            if request.domain in ("", DOMAIN):
                limit = pb.RateLimit(
                    algorithm="fixed_window", limit=LIMIT, window=MINUTE, burst=LIMIT, consistency="strict"
                )
                answer.rules.add(domain=DOMAIN, rule=RULE, limits=[limit], shadow_mode=True)
                answer.rules.add(domain=DOMAIN, rule="shop.free")
            start, end = int(request.page_token or 0), int(request.page_token or 0) + self.page_size
            answer.next_page_token = str(end) if end < len(answer.rules) else ""
            del answer.rules[end:], answer.rules[:start]
            return answer

        return await self.answer("ListRules", request, context, act)

    async def Reset(self, request: pb.ResetRequest, context: Any) -> Any:
        def act(request: pb.ResetRequest) -> pb.ResetResponse:
            keys = _keys(request.domain, request.descriptors)
            return pb.ResetResponse(counters=sum(self.used.pop(key, 0) > 0 for key in keys))

        return await self.answer("Reset", request, context, act)

    async def SetOverride(self, request: override_pb.SetOverrideRequest, context: Any) -> Any:
        return await self.answer("SetOverride", request, context, self._set)

    async def ListOverrides(self, request: override_pb.ListOverridesRequest, context: Any) -> Any:
        def act(request: override_pb.ListOverridesRequest) -> override_pb.ListOverridesResponse:
            found = [one for one in self.overrides.values() if request.domain in ("", one.domain)]
            found.sort(key=lambda one: one.created_at.seconds, reverse=True)
            start, size = int(request.page_token or 0), request.page_size or 50
            more = str(start + size) if start + size < len(found) else ""
            return override_pb.ListOverridesResponse(overrides=found[start : start + size], next_page_token=more)

        return await self.answer("ListOverrides", request, context, act)

    async def DeleteOverride(self, request: override_pb.DeleteOverrideRequest, context: Any) -> Any:
        def act(request: override_pb.DeleteOverrideRequest) -> override_pb.LimitOverride:
            for key, override in self.overrides.items():
                if override.override_id == request.override_id:
                    return self.overrides.pop(key)
            raise errors.ResourceNotFound("override", request.override_id)

        return await self.answer("DeleteOverride", request, context, act)

    def _check(self, request: pb.CheckRequest) -> pb.CheckResponse:
        keys = _keys(request.domain, request.descriptors)
        hits = request.hits_addend or 1
        statuses = [self._status(key, hits) for key in keys]
        answer = pb.CheckResponse(allowed=all(status.allowed for status in statuses), statuses=statuses)
        if answer.allowed:
            for key, status in zip(keys, answer.statuses, strict=True):
                if status.rule:
                    self.used[key] += hits
                    status.remaining -= hits
        else:
            answer.retry_after.CopyFrom(MINUTE)
        return answer

    def _explain(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        answer = pb.ExplainResponse(allowed=True, generation=3)
        for key in _keys(request.domain, request.descriptors):
            status = self._status(key, request.hits_addend or 1)
            answer.allowed = answer.allowed and status.allowed
            one = answer.descriptors.add(
                rule=status.rule,
                reason="the rule at route, key" if status.rule else "no rule at this depth",
                overridden=key in self.overrides,
            )
            if status.rule and status.limit:
                one.limits.add(
                    algorithm="fixed_window",
                    limit=status.limit,
                    window=MINUTE,
                    burst=status.limit,
                    counter=[pb.RateLimitEntry(key=name, value=value) for name, value in key[1]],
                    consistency="strict",
                    allowed=status.allowed,
                    remaining=status.remaining,
                    reset_after=MINUTE,
                )
        return answer

    def _status(self, key: _Key, hits: int) -> pb.DescriptorStatus:
        domain, entries = key
        if domain != DOMAIN or [name for name, _ in entries] != ["route", "key"]:
            return pb.DescriptorStatus(allowed=True)
        override = self.overrides.get(key)
        if override is not None and override.unlimited:
            return pb.DescriptorStatus(allowed=True, rule=RULE, remaining=2**32 - 1)
        limit = LIMIT if override is None else override.requests_per_unit
        left = max(0, limit - self.used[key])
        return pb.DescriptorStatus(
            allowed=hits <= left,
            rule=RULE,
            limit=limit,
            window=MINUTE,
            remaining=left,
            reset_after=MINUTE,
            over_limit=hits > left,
        )

    def _set(self, request: override_pb.SetOverrideRequest) -> override_pb.LimitOverride:
        if not request.entries:
            raise InvalidFields.one("entries", "must not be empty")
        if not request.unlimited and not request.unit:
            raise InvalidFields.one("unit", "is missing")
        if len(request.reason) > 500:
            raise InvalidFields.one("reason", "is too long")
        if len(self.overrides) >= 10_000:
            raise errors.TooMany("override", 10_000, "the mesh")
        key = _key(request.domain, request.entries)
        self._seconds += 1
        override = override_pb.LimitOverride(
            override_id=self.overrides[key].override_id if key in self.overrides else str(uuid.uuid4()),
            domain=request.domain,
            entries=request.entries,
            unlimited=request.unlimited,
            requests_per_unit=request.requests_per_unit,
            unit=request.unit,
            burst=request.burst,
            reason=request.reason,
            created_by="key:tester",
        )
        if request.HasField("expires_at"):
            override.expires_at.CopyFrom(request.expires_at)
        override.created_at.FromDatetime(NOW + timedelta(seconds=self._seconds))
        self.overrides[key] = override
        return override


def _keys(domain: str, descriptors: Sequence[pb.RateLimitDescriptor]) -> list[_Key]:
    if not domain:
        raise InvalidFields.one("domain", "rate limit domain must not be empty")
    if not descriptors:
        raise InvalidFields.one("descriptors", "rate limit descriptor list must not be empty")
    return [_key(domain, descriptor.entries) for descriptor in descriptors]


def _key(domain: str, entries: Iterable[pb.RateLimitEntry]) -> _Key:
    return domain, tuple((entry.key, entry.value) for entry in entries)
