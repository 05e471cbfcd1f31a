"""Creating a link: what is refused, what is stored, and that limits are asked first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.codes import MIN_LENGTH, CodeSource, is_code
from tests.support.identities import as_anonymous
from tests.support.memory_storage import NOW
from tests.unit.gateway.world import CALLER, URL, World, fields_of
from waypost.errors import AliasTaken, FieldViolation, InvalidFields, RateLimited
from waypost.model import DEFAULT_WORKSPACE, EventType, LimitDecision, LimitEntry, LinkEvent, LinkState

TEN_YEARS = 315_360_000


# Creating


async def test_link_is_stored_with_its_event(world: World) -> None:
    link = await world.create()
    assert is_code(link.short_code)
    assert len(link.short_code) == MIN_LENGTH
    assert link.destination.url == URL
    assert (link.expires_at, link.redirect_status) == (None, 302)
    assert world.storage.links == {link.short_code: link}
    assert world.storage.events == [LinkEvent(EventType.LINK_CREATED, link, "call-1")]


async def test_alias_is_the_code(world: World) -> None:
    link = await world.create(alias="Spring-Sale", redirect_status=308)
    assert (link.short_code, link.redirect_status) == ("Spring-Sale", 308)


@pytest.mark.parametrize("rival", ["spring-sale", "SPRING-SALE"])
async def test_alias_is_taken_in_any_case(world: World, rival: str) -> None:
    await world.create(alias="spring-sale")
    with pytest.raises(AliasTaken) as caught:
        await world.create(alias=rival)
    assert caught.value.alias == rival
    assert len(world.storage.links) == len(world.storage.events) == 1


async def test_random_codes_that_are_taken_are_tried_again(world: World) -> None:
    world.codes = ["taken22", "taken33"]
    for _ in range(2):
        await world.create()
    world.codes = ["taken22", "TAKEN33", "free444"]
    link = await world.create()
    assert link.short_code == "free444"
    assert [event.link.short_code for event in world.storage.events] == ["taken22", "taken33", "free444"]


async def test_all_codes_taken_is_a_defect_not_an_endless_search(world: World) -> None:
    for length in range(MIN_LENGTH, MIN_LENGTH + CodeSource.MAX_STEPS):
        world.codes = ["Abcdefghkmnpqrs"[:length]]
        await world.create()
    drawn = iter(range(1000))
    world.links = world.handlers_with(CodeSource(draw=lambda length: (next(drawn), "Abcdefghkmnpqrs"[:length])[1]))
    with pytest.raises(RuntimeError):
        await world.create()
    assert next(drawn) < 100


async def test_every_wrong_field_is_named_at_once(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.create("ftp://example.org", alias="a b", ttl_seconds=0, redirect_status=303)
    assert fields_of(caught.value) == ["url", "ttl_seconds", "redirect_status", "alias"]
    malformed = FieldViolation("expires_at", "is no time")
    with pytest.raises(InvalidFields) as caught:
        await world.create("", redirect_status=-1, malformed=(malformed,))
    assert caught.value.violations[0] == malformed
    assert fields_of(caught.value) == ["expires_at", "url", "redirect_status"]
    assert world.storage.opened == 0


async def test_malformed_field_alone_is_refused(world: World) -> None:
    with pytest.raises(InvalidFields):
        await world.create(malformed=(FieldViolation("expires_at", "is no time"),))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_status_is_kept(world: World, status: int) -> None:
    assert (await world.create(redirect_status=status)).redirect_status == status


@pytest.mark.parametrize("status", [-1, 1, 200, 300, 303, 304, 305, 306, 309, 404])
async def test_other_statuses_are_refused(world: World, status: int) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.create(redirect_status=status)
    assert fields_of(caught.value) == ["redirect_status"]


@pytest.mark.parametrize("seconds", [1, 60, TEN_YEARS])
async def test_ttl_counts_from_now(world: World, seconds: int) -> None:
    assert (await world.create(ttl_seconds=seconds)).expires_at == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("seconds", [0, -1, -(2**31), TEN_YEARS + 1, 2**31 - 1])
async def test_ttl_out_of_bounds_is_refused(world: World, seconds: int) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.create(ttl_seconds=seconds)
    assert fields_of(caught.value) == ["ttl_seconds"]


@pytest.mark.parametrize(
    "expires_at", [NOW + timedelta(microseconds=1), datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
)
async def test_expiry_is_kept(world: World, expires_at: datetime) -> None:
    assert (await world.create(expires_at=expires_at)).expires_at == expires_at


@pytest.mark.parametrize(
    "expires_at",
    [
        NOW,
        NOW - timedelta(microseconds=1),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
)
async def test_expiry_out_of_bounds_is_refused(world: World, expires_at: datetime) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.create(expires_at=expires_at)
    assert fields_of(caught.value) == ["expires_at"]


async def test_created_link_redirects_without_a_read(world: World) -> None:
    link = await world.create()
    answer = await world.redirects.look(link.short_code)
    assert (answer.status, answer.location) == (302, URL)
    assert world.storage.asked == []


async def test_change_that_is_told_before_the_create_comes_back_wins(world: World) -> None:
    def deleted_elsewhere() -> None:
        link = world.storage.links["spring"]
        world.storage.links["spring"] = replace(link, deleted_at=NOW, version=2)
        world.cache.invalidate("spring", 2)

    world.storage.committed = deleted_elsewhere
    await world.create(alias="spring")
    assert (await world.redirects.look("spring")).state is LinkState.DELETED


# Limits


async def test_limiter_is_asked_for_who_calls_or_for_the_address_of_nobody_in_particular(world: World) -> None:
    await world.create()
    await world.create(caller=replace(CALLER, identity=as_anonymous("192.0.2.9")))
    route = LimitEntry("route_class", "create")
    who = [LimitEntry("principal", "user:ada"), LimitEntry("workspace", str(DEFAULT_WORKSPACE))]
    assert world.limiter.asked == [
        ("waypost", [(route, one) for one in who]),
        ("waypost", [(route, LimitEntry("remote_address", "192.0.2.9"))]),
    ]


@pytest.mark.parametrize("degraded", [False, True])
async def test_refusal_comes_before_everything_else(world: World, degraded: bool) -> None:
    world.limiter.decision = LimitDecision(False, "creates", 2.5, degraded)
    with pytest.raises(RateLimited) as caught:
        await world.create("no url at all")
    assert (caught.value.rule, caught.value.retry_after) == ("creates", 2.5)
    assert world.storage.opened == 0


async def test_limiter_that_is_away_stops_nobody(world: World) -> None:
    world.limiter.decision = LimitDecision(True, degraded=True)
    assert await world.create()


async def test_reads_and_deletes_are_not_limited(world: World) -> None:
    link = await world.create()
    world.limiter.asked.clear()
    await world.get(link.short_code)
    await world.redirects.look(link.short_code)
    await world.delete(link.short_code)
    assert world.limiter.asked == []


# What owners say of their links


async def test_everything_that_is_said_is_kept(world: World) -> None:
    link = await world.create(title="  Spring sale ", tags=("b", "a", "b"), max_clicks=7, forward_query=True)
    assert (link.title, link.tags, link.max_clicks, link.forward_query) == ("Spring sale", ("b", "a"), 7, True)


@pytest.mark.parametrize("number", [-1, 1_000_000_001, -(2**31), 2**31 - 1])
async def test_number_of_clicks_out_of_bounds_is_refused(world: World, number: int) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.create(max_clicks=number)
    assert fields_of(caught.value) == ["max_clicks"]


@pytest.mark.parametrize("number", [0, 1, 1_000_000_000])
async def test_number_of_clicks_is_kept(world: World, number: int) -> None:
    assert (await world.create(max_clicks=number)).max_clicks == number
