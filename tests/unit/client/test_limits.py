"""Rate limits and overrides as the client has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.limit_server import DOMAIN, NOW, RULE, LimitServer
from tests.support.link_server import serving
from tests.unit.client.test_lifetime import AWAY, failing
from waypost import Client, errors
from waypost.api.v1 import limit_override_service_pb2, rate_limit_service_pb2
from waypost.client import (
    ExplainedDescriptor,
    ExplainedLimit,
    LimitAnswer,
    LimitExplanation,
    LimitOverride,
    LimitRule,
    LimitStatus,
    LimitUnit,
    RuleLimit,
    Unreachable,
)
from waypost.client.limits_convert import override_from_proto

ALICE = {"route": "buy", "key": "alice"}
BOB = (("route", "buy"), ("key", "bob"))
MINUTE = timedelta(minutes=1)


@pytest.fixture
def server() -> LimitServer:
    """The server that `client` talks to."""
    return LimitServer()


@pytest.fixture
async def client(server: LimitServer) -> AsyncIterator[Client]:
    """A client of `server`."""
    async with serving(server) as port, Client(f"127.0.0.1:{port}", api_key="wp_me.secret") as one:
        yield one


async def test_checks(client: Client) -> None:
    assert await client.limits.check(DOMAIN, ALICE) == LimitAnswer(
        allowed=True,
        statuses=(LimitStatus(True, RULE, 2, MINUTE, 1, MINUTE, over_limit=False, degraded=False),),
        retry_after=None,
        degraded=False,
    )
    refused = await client.limits.check(DOMAIN, BOB, ALICE, hits=2)
    assert (refused.allowed, refused.retry_after) == (False, MINUTE)
    assert [(status.allowed, status.remaining, status.over_limit) for status in refused.statuses] == [
        (True, 2, False),
        (False, 1, True),
    ]
    unlimited = await client.limits.check(DOMAIN, {"other": "x"})
    assert unlimited.statuses == (LimitStatus(True, "", 0, None, 0, None, over_limit=False, degraded=False),)


async def test_checks_of_many(client: Client) -> None:
    answers = await client.limits.check_all([(DOMAIN, [ALICE]), (DOMAIN, [ALICE, BOB]), (DOMAIN, [ALICE])])
    assert [answer.allowed for answer in answers] == [True, True, False]


async def test_explanations(client: Client, server: LimitServer) -> None:
    await client.limits.check(DOMAIN, ALICE)
    explained = await client.limits.explain(DOMAIN, ALICE, {"other": ""}, hits=2, workspace="w")
    entries = (("route", "buy"), ("key", "alice"))
    assert explained == LimitExplanation(
        allowed=False,
        descriptors=(
            ExplainedDescriptor(
                rule=RULE,
                reason="the rule at route, key",
                limits=(
                    ExplainedLimit(
                        "fixed_window", 2, MINUTE, 2, entries, "strict", allowed=False, remaining=1, reset_after=MINUTE
                    ),
                ),
                overridden=False,
            ),
            ExplainedDescriptor("", "no rule at this depth", (), overridden=False),
        ),
        generation=3,
    )
    assert server.calls[-1].request.workspace_id == "w"


async def test_rules_and_resets(client: Client, server: LimitServer) -> None:
    server.problems.append("shop.yaml: broken")
    rules = await client.limits.rules()
    assert rules.rules == (
        LimitRule(
            DOMAIN, RULE, (RuleLimit("fixed_window", 2, MINUTE, 2, "strict"),), shadow_mode=True, quota_mode=False
        ),
        LimitRule(DOMAIN, "shop.free", (), shadow_mode=False, quota_mode=False),
    )
    assert (rules.generation, rules.loaded_at, rules.problems) == (3, NOW, ("shop.yaml: broken",))
    assert (await client.limits.rules("other")).rules == ()
    await client.limits.check(DOMAIN, ALICE, hits=2)
    assert await client.limits.reset(DOMAIN, ALICE, BOB, workspace="w") == 1
    assert server.calls[-1].request.workspace_id == "w"
    assert (await client.limits.check(DOMAIN, ALICE, hits=2)).allowed


async def test_rules_come_in_pages_and_anew_when_they_change_between_two(client: Client, server: LimitServer) -> None:
    whole = await client.limits.rules()
    server.page_size = 1
    first = await client.limits.rules_page(page_size=1)
    assert (first.rules, first.generation, bool(first.next_page_token)) == (whole.rules[:1], 3, True)
    assert server.calls[-1].request.page_size == 1
    last = await client.limits.rules_page(page_token=first.next_page_token)
    assert (last.rules, last.next_page_token) == (whole.rules[1:], "")
    assert await client.limits.rules() == whole
    refused: list[str] = []

    async def changed(_: object) -> None:
        token = server.calls[-1].request.page_token
        if token and len(refused) < times:
            refused.append(token)
            raise errors.InvalidFields.one("page_token", "came with other rules")

    server.before = changed
    times = 2
    assert await client.limits.rules() == whole
    refused.clear()
    times = 3
    with pytest.raises(errors.InvalidFields, match="other rules"):
        await client.limits.rules()


async def test_overrides(client: Client) -> None:
    until = datetime(2031, 2, 1, tzinfo=UTC)
    override = await client.overrides.set(
        DOMAIN, ALICE, requests_per_unit=2**32 - 1, unit="week", burst=7, reason="a sale", expires_at=until
    )
    assert override == LimitOverride(
        override_id=override.override_id,
        domain=DOMAIN,
        entries=(("route", "buy"), ("key", "alice")),
        requests_per_unit=2**32 - 1,
        unit=LimitUnit.WEEK,
        burst=7,
        reason="a sale",
        expires_at=until,
        created_at=NOW + timedelta(seconds=1),
        created_by="key:tester",
    )
    assert not override.unlimited
    unlimited = await client.overrides.set(DOMAIN, BOB, unlimited=True)
    assert (unlimited.unlimited, unlimited.unit, unlimited.expires_at) == (True, None, None)
    other = await client.overrides.set("other", BOB, unit=LimitUnit.SECOND)
    assert [one async for one in client.overrides.list(page_size=1)] == [other, unlimited, override]
    assert [one async for one in client.overrides.list("other")] == [other]
    assert (await client.limits.explain(DOMAIN, BOB)).descriptors[0].overridden
    assert await client.overrides.delete(other.override_id) == other
    with pytest.raises(errors.ResourceNotFound) as raised:
        await client.overrides.delete(other.override_id)
    assert (raised.value.type, raised.value.name) == ("override", other.override_id)


async def test_too_many_are_said_as_the_server_says_it(client: Client, server: LimitServer) -> None:
    async def full(_: object) -> None:
        raise errors.TooMany("override", 10_000, "the mesh")

    server.before = full
    with pytest.raises(errors.TooMany, match="the mesh has 10,000 overrides already, and may have no more"):
        await client.overrides.set(DOMAIN, ALICE, unlimited=True)


async def test_what_no_message_can_hold_is_refused_before_it_is_sent(client: Client, server: LimitServer) -> None:
    calls: dict[str, Coroutine[Any, Any, object]] = {
        "hits_addend": client.limits.check(DOMAIN, ALICE, hits=-1),
        "descriptors[1].entries[0]": client.limits.check(DOMAIN, ALICE, {"a": "\ud800"}),
        "descriptors[0].entries[1]": client.limits.reset(DOMAIN, [("a", "b"), ("c", 1)]),  # type: ignore[list-item]
        "requests_per_unit": client.overrides.set(DOMAIN, ALICE, requests_per_unit=2**32, unit="day"),
        "unit": client.overrides.set(DOMAIN, ALICE, unit="fortnight"),
        "expires_at": client.overrides.set(DOMAIN, ALICE, unlimited=True, expires_at=datetime(2031, 1, 1)),  # noqa: DTZ001
        "entries[0]": client.overrides.set(DOMAIN, [("a", b"\xff")], unlimited=True),  # type: ignore[list-item]
    }
    for field, call in calls.items():
        with pytest.raises(errors.InvalidFields) as raised:
            await call
        assert [violation.field for violation in raised.value.violations] == [field]
    assert server.calls == []


def test_a_unit_without_a_name_is_unknown() -> None:
    from waypost.api.v1 import limit_override_service_pb2 as pb

    override = pb.LimitOverride.FromString(pb.LimitOverride(unit=99).SerializeToString())  # type: ignore[arg-type]
    assert override_from_proto(override).unit is LimitUnit.UNKNOWN


async def test_what_counts_twice_what_it_is_asked_twice_is_tried_once(client: Client, server: LimitServer) -> None:
    override = await client.overrides.set(DOMAIN, BOB, unlimited=True)
    repeated: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "Explain": lambda: client.limits.explain(DOMAIN, ALICE),
        "ListRules": client.limits.rules,
        "SetOverride": lambda: client.overrides.set(DOMAIN, ALICE, unlimited=True),
        "ListOverrides": client.overrides.list_page,
    }
    once: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "Check": lambda: client.limits.check(DOMAIN, ALICE),
        "BatchCheck": lambda: client.limits.check_all([(DOMAIN, [ALICE])]),
        "Reset": lambda: client.limits.reset(DOMAIN, ALICE),
        "DeleteOverride": lambda: client.overrides.delete(override.override_id),
    }
    services = [
        module.DESCRIPTOR.services_by_name.values() for module in (rate_limit_service_pb2, limit_override_service_pb2)
    ]
    assert repeated.keys() | once.keys() == {
        method.name for found in services for service in found for method in service.methods
    }
    for method, call in repeated.items():
        server.calls.clear()
        server.before = failing(1, AWAY)
        await call()
        assert [one.method for one in server.calls] == [method, method]
    for method, call in once.items():
        server.calls.clear()
        server.before = failing(1, AWAY)
        with pytest.raises(Unreachable):
            await call()
        assert [one.method for one in server.calls] == [method]
