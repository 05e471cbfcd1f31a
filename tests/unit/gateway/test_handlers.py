"""The use cases of LinkService: what they refuse, what they store together, and what outlives its caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gateway.codes import MIN_LENGTH, CodeSource, is_code
from gateway.handlers import MAX_BATCH
from gateway.redirects import NOT_FOUND
from gateway.requests import Content, CreateLink
from gateway.transactions import redirect_of
from tests.support.identities import as_anonymous
from tests.support.memory_storage import NOW
from tests.unit.gateway.world import CALLER, URL, World
from waypost.convert import etag
from waypost.errors import (
    AliasTaken,
    DependencyUnavailable,
    EtagMismatch,
    FieldViolation,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidFields,
    LinkGone,
    LinkNotFound,
    RateLimited,
    WaypostError,
)
from waypost.listing import Cursor, LinkFilter, ListQuery, Order
from waypost.model import (
    DEFAULT_WORKSPACE,
    EventType,
    LimitDecision,
    LimitEntry,
    Link,
    LinkEvent,
    LinkState,
    Redirect,
)

TEN_YEARS = 315_360_000


@dataclass
class Complaints:
    """What the event loop complains of."""

    messages: list[str] = field(default_factory=list)


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture(autouse=True)
async def complaints() -> AsyncIterator[Complaints]:
    """No test may leave an exception that nobody looked at."""
    found = Complaints()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.messages.append(str(context)))
    yield found
    await turn()
    assert found.messages == []


async def turn() -> None:
    """Lets everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def fields_of(error: InvalidFields) -> list[str]:
    return [violation.field for violation in error.violations]


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


# One unit of work


async def test_nothing_is_stored_when_the_event_cannot_be(world: World) -> None:
    link = await world.create(alias="before")
    world.storage.events.clear()
    world.storage.event_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="after")
    with pytest.raises(DependencyUnavailable):
        await world.delete("before")
    assert world.storage.links == {"before": link}
    assert world.storage.events == []
    assert (await world.redirects.look("after")) == NOT_FOUND
    assert (await world.redirects.look("before")).state is LinkState.ACTIVE


async def test_commit_that_fails_leaves_the_cache_as_it_was(world: World) -> None:
    world.storage.commit_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="spring")
    assert await world.redirects.look("spring") == NOT_FOUND


# Callers who go away


async def test_create_goes_on_when_its_caller_has_gone(world: World) -> None:
    world.storage.may_commit.clear()
    task = asyncio.create_task(world.create(alias="spring"))
    await world.storage.committing.wait()
    task.cancel()
    await turn()
    assert task.cancelled()
    assert world.storage.links == {}
    world.storage.may_commit.set()
    await turn()
    assert list(world.storage.links) == ["spring"]
    assert len(world.storage.events) == 1
    # The rest of the work is done as well: the link is known without a read.
    assert (await world.redirects.look("spring")).location == URL
    assert world.storage.asked == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_delete_goes_on_when_its_caller_has_gone(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.redirects.look("spring")).status == 302
    world.storage.committing.clear()
    world.storage.may_commit.clear()
    task = asyncio.create_task(world.delete("spring"))
    await world.storage.committing.wait()
    task.cancel()
    await turn()
    world.storage.may_commit.set()
    await turn()
    # Seen here at once, not only when the feed brings it.
    assert (await world.redirects.look("spring")).status == 410
    assert [event.type for event in world.storage.events] == [EventType.LINK_CREATED, EventType.LINK_DELETED]


@pytest.mark.parametrize("error", [DependencyUnavailable("postgres"), RuntimeError("a defect")])
async def test_failure_that_nobody_waits_for_is_no_unheard_exception(world: World, error: Exception) -> None:
    world.storage.may_commit.clear()
    world.storage.commit_error = error
    task = asyncio.create_task(world.create(alias="spring"))
    await world.storage.committing.wait()
    task.cancel()
    await turn()
    world.storage.may_commit.set()
    await turn()
    assert world.storage.links == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Reading


async def test_link_is_given_in_whatever_state(world: World) -> None:
    link = await world.create(alias="spring")
    assert await world.get("spring") == link
    deleted = await world.delete("spring")
    assert await world.get("spring") == deleted


async def test_unknown_link_is_not_found(world: World) -> None:
    await world.create(alias="spring")
    for code in ("summer", "Spring"):
        with pytest.raises(LinkNotFound):
            await world.get(code)
        with pytest.raises(LinkNotFound):
            await world.delete(code)
        assert await world.redirects.look(code) == NOT_FOUND


@pytest.mark.parametrize("code", ["ab", "x" * 65, "a b c", "-abc", "abc+", "abc/def", "abc\n", "abc\0", "ä" * 7, ".."])
async def test_hopeless_codes_do_not_touch_the_storage(world: World, code: str) -> None:
    with pytest.raises(LinkNotFound):
        await world.get(code)
    with pytest.raises(LinkNotFound):
        await world.delete(code)
    assert await world.redirects.look(code) == NOT_FOUND
    assert world.storage.asked == []


async def test_empty_code_is_a_wrong_field(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.get("")
    assert fields_of(caught.value) == ["short_code"]
    with pytest.raises(InvalidFields):
        await world.delete("")
    assert await world.redirects.look("") == NOT_FOUND


async def test_storage_that_is_away_is_said_so(world: World) -> None:
    async def away(workspace_id: UUID, short_code: str) -> Link | None:
        raise DependencyUnavailable("postgres")

    world.storage.get_link = away  # type: ignore[method-assign]
    with pytest.raises(DependencyUnavailable):
        await world.get("spring")

    async def away_too(short_code: str) -> Redirect | None:
        raise DependencyUnavailable("postgres")

    world.storage.read_redirect = away_too  # type: ignore[method-assign]
    with pytest.raises(DependencyUnavailable):
        await world.redirects.look("spring")


# Deleting


async def test_deleted_link_is_gone_at_once(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.redirects.look("spring")).status == 302
    link = await world.delete("spring")
    assert (link.version, link.deleted_at) == (2, NOW)
    answer = await world.redirects.look("spring")
    assert (answer.status, answer.state) == (410, LinkState.DELETED)
    assert world.storage.events[-1] == LinkEvent(EventType.LINK_DELETED, link, "call-1")


async def test_deleting_again_changes_nothing(world: World) -> None:
    await world.create(alias="spring")
    first = await world.delete("spring")
    events = list(world.storage.events)
    assert await world.delete("spring") == first
    assert world.storage.events == events


async def test_code_of_a_deleted_link_is_not_free(world: World) -> None:
    await world.create(alias="spring")
    await world.delete("spring")
    with pytest.raises(AliasTaken):
        await world.create(alias="Spring")


async def test_redirect_has_what_the_link_has(world: World) -> None:
    link = await world.create(alias="spring", ttl_seconds=60, redirect_status=307, forward_query=True)
    expected = Redirect("spring", URL, 307, 1, False, False, NOW + timedelta(seconds=60), NOW, forward_query=True)
    assert redirect_of(link) == expected
    assert redirect_of(replace(link, blocked=True, deleted_at=NOW)).blocked
    assert redirect_of(replace(link, deleted_at=NOW)).deleted
    assert redirect_of(replace(link, warned=True)).warned
    limited = redirect_of(replace(link, max_clicks=2, clicks_used=1))
    assert (limited.limited, limited.exhausted) == (True, False)
    assert redirect_of(replace(link, max_clicks=2, clicks_used=2)).exhausted


async def test_delete_heeds_the_etag(world: World) -> None:
    link = await world.create(alias="spring")
    with pytest.raises(EtagMismatch) as caught:
        await world.delete("spring", "v7")
    assert (caught.value.short_code, caught.value.etag) == ("spring", etag(link))
    assert (await world.delete("spring", etag(link))).deleted_at == NOW


async def test_undeleted_link_is_what_it_was(world: World) -> None:
    link = await world.create(alias="spring", title="Spring", tags=("a",))
    await world.delete("spring")
    with pytest.raises(EtagMismatch):
        await world.undelete("spring", etag(link))
    back = await world.undelete("spring", "v2")
    assert back == replace(link, version=3)
    assert (await world.redirects.look("spring")).status == 302
    assert world.storage.events[-1] == LinkEvent(EventType.LINK_UPDATED, back, "call-1")


async def test_undeleting_what_is_not_deleted_changes_nothing(world: World) -> None:
    link = await world.create(alias="spring")
    assert await world.undelete("spring") == link
    assert len(world.storage.events) == 1


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


# Updates


async def test_only_what_is_named_changes(world: World) -> None:
    link = await world.create(alias="spring", title="Spring", tags=("a",), ttl_seconds=60, max_clicks=3)
    changed = await world.update("spring", title="Summer")
    assert changed == replace(link, title="Summer", version=2)
    assert world.storage.events[-1] == LinkEvent(EventType.LINK_UPDATED, changed, "call-1")


async def test_everything_can_be_changed(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.redirects.look("spring")).location == URL
    changed = await world.update(
        "spring",
        url="https://example.org/new",
        title="New",
        tags=("x",),
        expires_at=NOW + timedelta(days=1),
        max_clicks=5,
        redirect_status=301,
        forward_query=True,
    )
    assert changed.destination.url == "https://example.org/new"
    assert (changed.title, changed.tags, changed.max_clicks) == ("New", ("x",), 5)
    assert (changed.expires_at, changed.redirect_status, changed.forward_query) == (NOW + timedelta(days=1), 301, True)
    # Seen here at once; the destination of a link with a number of clicks is told to none but those who click.
    seen = await world.redirects.look("spring")
    assert (seen.status, seen.location) == (301, "")
    assert (await world.redirects.follow("spring")).location == "https://example.org/new"


async def test_what_is_named_and_empty_is_cleared(world: World) -> None:
    await world.create(
        alias="spring",
        title="Spring",
        tags=("a",),
        ttl_seconds=60,
        max_clicks=3,
        redirect_status=301,
        forward_query=True,
    )
    also = ("title", "tags", "expires_at", "max_clicks", "redirect_status", "forward_query")
    changed = await world.update("spring", also=also)
    assert (changed.title, changed.tags, changed.expires_at, changed.max_clicks) == ("", (), None, 0)
    assert (changed.redirect_status, changed.forward_query) == (302, False)


async def test_destination_cannot_be_cleared(world: World) -> None:
    await world.create(alias="spring")
    with pytest.raises(InvalidFields) as caught:
        await world.update("spring", also=("url",))
    assert fields_of(caught.value) == ["url"]


async def test_every_wrong_field_of_an_update_is_named(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.update("", url="ftp://x", tags=("a,b",), redirect_status=303, max_clicks=-1)
    assert fields_of(caught.value) == ["short_code", "url", "tags[0]", "max_clicks", "redirect_status"]
    assert world.storage.opened == 0


async def test_update_that_changes_nothing_leaves_the_version(world: World) -> None:
    link = await world.create(alias="spring", title="Spring")
    assert await world.update("spring", title="Spring") == link
    assert (len(world.storage.events), world.storage.commits) == (1, 1)


async def test_update_heeds_the_etag(world: World) -> None:
    link = await world.create(alias="spring")
    changed = await world.update("spring", title="a", etag=etag(link))
    with pytest.raises(EtagMismatch) as caught:
        await world.update("spring", title="b", etag=etag(link))
    assert caught.value.etag == etag(changed)
    assert world.storage.links["spring"].title == "a"


async def test_deleted_link_is_not_updated(world: World) -> None:
    await world.create(alias="spring")
    await world.delete("spring")
    with pytest.raises(LinkGone):
        await world.update("spring", title="a")


async def test_unknown_link_is_not_updated(world: World) -> None:
    for code in ("summer", "a b", "+"):
        with pytest.raises(LinkNotFound):
            await world.update(code, title="a")
        with pytest.raises(LinkNotFound):
            await world.undelete(code)


# Batches


def wanted(url: str = URL, alias: str = "") -> CreateLink:
    return CreateLink(Content(url), alias)


async def test_each_of_a_batch_is_made_or_refused_by_itself_in_order(world: World) -> None:
    await world.create(alias="taken")
    outcomes = await world.batch(
        wanted(alias="one"), wanted("no url"), wanted(alias="TAKEN"), wanted(), wanted(alias="ONE"), wanted(alias="two")
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Link, InvalidFields, AliasTaken, Link, AliasTaken, Link]
    made = [outcome for outcome in outcomes if isinstance(outcome, Link)]
    assert [link.short_code for link in made] == ["one", "Abcdefg", "two"]
    assert [event.link for event in world.storage.events[1:]] == made
    assert world.storage.commits == 2


async def test_random_codes_of_a_batch_that_are_taken_are_tried_again(world: World) -> None:
    world.codes = ["same222", "same222", "same222", "free333", "free444"]
    outcomes = await world.batch(wanted(), wanted(), wanted(alias="alias"), wanted())
    codes = [outcome.short_code for outcome in outcomes if isinstance(outcome, Link)]
    assert codes[2] == "alias"
    assert sorted([codes[0], codes[1], codes[3]]) == ["free333", "free444", "same222"]


async def test_batch_costs_as_many_hits_as_it_has_links(world: World) -> None:
    await world.batch(wanted(), wanted("bad"), wanted())
    assert world.limiter.hits == [3]
    world.limiter.decision = LimitDecision(False, "creates", 1.0)
    with pytest.raises(RateLimited):
        await world.batch(wanted())


@pytest.mark.parametrize("number", [0, MAX_BATCH + 1])
async def test_batch_has_bounds(world: World, number: int) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.batch(*[wanted()] * number)
    assert fields_of(caught.value) == ["requests"]
    assert (world.limiter.hits, world.storage.opened) == ([], 0)


async def test_batch_of_refusals_stores_nothing(world: World) -> None:
    outcomes = await world.batch(wanted("a"), wanted("b"))
    assert all(isinstance(outcome, WaypostError) for outcome in outcomes)
    assert (world.storage.commits, world.storage.events) == (0, [])


# Idempotency keys


async def test_same_key_is_done_once(world: World) -> None:
    world.codes = ["first22", "second3"]
    first = await world.create(key="k")
    await world.delete(first.short_code)
    again = await world.create(key="k")
    assert again is first
    assert len(world.storage.links) == 1
    assert [event.type for event in world.storage.events] == [EventType.LINK_CREATED, EventType.LINK_DELETED]


async def test_what_was_done_is_answered_before_limits_and_checks(world: World) -> None:
    first = await world.create(key="k", alias="spring", expires_at=NOW + timedelta(seconds=2))
    world.limiter.decision = LimitDecision(False, "creates", 60.0)
    # As a retry that comes when the end that it asks for is over.
    assert await world.create("no url any more", key="k", expires_at=NOW) is first
    requests = [wanted(alias="one")]
    world.limiter.decision = LimitDecision(True)
    outcomes = await world.batch(*requests, key="b")
    world.limiter.decision = LimitDecision(False, "creates", 60.0)
    assert await world.batch(*requests, key="b") is outcomes
    assert world.limiter.hits == [1, 1]


async def test_same_key_for_another_request_is_refused(world: World) -> None:
    await world.create(key="k")
    with pytest.raises(IdempotencyKeyReused):
        await world.links.create(wanted(), CALLER, world.reply("k", b"g" * 32))
    assert await world.links.create(wanted(), CALLER, world.reply("k", b"g" * 32, "Other"))


async def test_failure_is_not_kept(world: World) -> None:
    await world.create(alias="spring")
    with pytest.raises(AliasTaken):
        await world.create(alias="spring", key="k")
    world.storage.commit_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="summer", key="k")
    world.storage.commit_error = None
    assert (await world.create(alias="summer", key="k")).short_code == "summer"


async def test_change_that_changes_nothing_is_kept_too(world: World) -> None:
    await world.create(alias="spring")
    first = await world.links.undelete("spring", "", CALLER, world.reply("k", method="UndeleteLink"))
    await world.delete("spring")
    assert await world.links.undelete("spring", "", CALLER, world.reply("k", method="UndeleteLink")) == first
    assert world.storage.links["spring"].deleted_at is not None


async def test_rivals_with_one_key_get_one_answer(world: World) -> None:
    world.codes = [f"code{number}99" for number in range(2, 9)]
    links = await asyncio.gather(*[world.create(key="k") for _ in range(7)])
    assert len({link.short_code for link in links}) == len(world.storage.links) == 1


async def test_rivals_take_one_unit_of_work_at_a_time(world: World) -> None:
    world.storage.may_commit.clear()
    first = asyncio.create_task(world.create(alias="spring", key="k"))
    await world.storage.committing.wait()
    rivals = [asyncio.create_task(world.create(alias="spring", key="k")) for _ in range(5)]
    other = asyncio.create_task(world.create(alias="summer", key="other"))
    await turn()
    assert world.storage.opened == 2, "one for each key"
    rivals[0].cancel()
    world.storage.may_commit.set()
    assert await first
    assert [await rival for rival in rivals[1:]] == [await first] * 4
    assert (await other).short_code == "summer"


async def test_rival_that_waits_too_long_is_told_to_come_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.transactions.PATIENCE", 0.01)
    world.storage.may_commit.clear()
    first = asyncio.create_task(world.create(alias="spring", key="k"))
    await world.storage.committing.wait()
    with pytest.raises(IdempotencyKeyInUse) as caught:
        await world.create(alias="spring", key="k")
    assert caught.value.key == "k"
    world.storage.may_commit.set()
    assert await world.create(alias="spring", key="k") == await first


# Lists


async def test_page_and_the_token_of_the_next(world: World) -> None:
    link = await world.create(alias="spring")
    asked = {"filter_text": "state = active", "order_by": "", "size": 1, "page_token": ""}
    links, token = await world.links.page(CALLER, **asked)  # type: ignore[arg-type]
    assert (list(links), token) == ([link], "")
    world.storage.next_page = Cursor(NOW, 17)
    _, token = await world.links.page(CALLER, **asked)  # type: ignore[arg-type]
    assert token
    await world.links.page(CALLER, **{**asked, "page_token": token})  # type: ignore[arg-type]
    query = ListQuery(LinkFilter(LinkState.ACTIVE), Order(), 1, Cursor(NOW, 17))
    assert world.storage.lists[-1] == (DEFAULT_WORKSPACE, query, NOW)


async def test_every_wrong_argument_of_a_list_is_named(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.links.page(CALLER, filter_text="colour = red", order_by="beauty", size=-1, page_token="")
    assert sorted(fields_of(caught.value)) == ["filter", "order_by", "page_size"]
    assert world.storage.lists == []
