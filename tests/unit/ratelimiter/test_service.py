"""The servicer: who may ask about which domain, and who is told what was decided."""

from __future__ import annotations

from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from native.limits import Algorithm, Limit
from native.table import Table
from ratelimiter.app import count_decisions, watch_table
from ratelimiter.handlers import Checker, CheckResult
from ratelimiter.rules import Rules
from ratelimiter.service import RateLimitService
from waypost.access.identity import Identity
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.errors import InvalidFields
from waypost.rpc.context import CallContext

RULE = "descriptors: [{key: address, rate_limit: {unit: minute, requests_per_unit: 2}}]"
METHOD = "/waypost.api.v1.RateLimitService/Check"
EDGE = CallContext(METHOD, [("x-waypost-edge", "1")], "unix:", None)
MESH = CallContext(METHOD, [], "unix:", None)


class World:
    """A servicer with rules for the mesh and for somebody else, and what it told of its decisions."""

    def __init__(self) -> None:
        self.decided: list[CheckResult] = []
        rules = Rules.parse({f"{name}.yaml": f"domain: {name}\n{RULE}" for name in ("waypost", "other")})
        checker = Checker(rules, Table(), lambda: 1_700_000_000_000_000)
        self.service = RateLimitService(checker, self.decided.append)

    async def check(self, domain: str, context: object, hits: int = 1) -> pb.CheckResponse:
        descriptor = pb.RateLimitDescriptor(entries=[pb.RateLimitEntry(key="address", value="192.0.2.7")])
        return await self.service.Check(
            pb.CheckRequest(domain=domain, descriptors=[descriptor], hits_addend=hits), context
        )


async def test_nobody_spends_from_outside_what_the_mesh_holds_an_address_to() -> None:
    world = World()
    with pytest.raises(
        InvalidFields, match="domain: waypost is decided inside the mesh; use a domain of your own rules"
    ):
        await world.check("waypost", EDGE, hits=2)
    assert world.decided == []
    assert (await world.check("waypost", MESH)).statuses[0].remaining == 1


async def test_other_domains_are_decided_for_anyone() -> None:
    world = World()
    assert (await world.check("other", EDGE)).allowed
    assert (await world.check("other", MESH)).statuses[0].remaining == 0


async def test_each_workspace_has_counters_of_its_own() -> None:
    world = World()
    callers = []
    for number in (1, 2):
        context = CallContext(METHOD, [("x-waypost-edge", "1")], "unix:", None)
        context.identity = Identity(f"key:{number}", UUID(int=number))
        callers.append(context)
    assert (await world.check("other", callers[0], hits=2)).allowed
    assert not (await world.check("other", callers[0])).allowed
    assert (await world.check("other", callers[1])).statuses[0].remaining == 1
    assert (await world.check("other", MESH)).statuses[0].remaining == 1


async def test_decisions_are_told_and_counted() -> None:
    world = World()
    for _ in range(3):
        await world.check("other", MESH)
    assert [result.allowed for result in world.decided] == [True, True, False]

    registry = CollectorRegistry()
    count = count_decisions(registry)
    found = {d: registry.get_sample_value("ratelimit_decisions_total", {"decision": d}) for d in ("allowed", "refused")}
    assert found == {"allowed": 0, "refused": 0}
    for result in world.decided:
        count(result)
    found = {d: registry.get_sample_value("ratelimit_decisions_total", {"decision": d}) for d in ("allowed", "refused")}
    assert found == {"allowed": 2, "refused": 1}


def test_the_table_is_watched() -> None:
    registry, table = CollectorRegistry(), Table(1)
    watch_table(registry, table)
    limit = Limit(Algorithm.FIXED_WINDOW, 3, 1_000_000)
    for name in ("a", "b", "c"):
        table.keep(table.key(("rule",), (name,)), limit, 0).count = 1 if name == "a" else 3
    found = [registry.get_sample_value(f"ratelimit_table_{what}") for what in ("entries", "evictions", "overflows")]
    assert found == [1, 1, 0]
    table.find(table.key(("rule",), ("d",)), 0)
    assert registry.get_sample_value("ratelimit_table_overflows") == 1
