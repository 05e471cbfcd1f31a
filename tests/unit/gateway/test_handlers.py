"""The use cases of LinkService: what they refuse, what they store together, and what outlives its caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from gateway.cache import CacheMetrics, RedirectCache
from gateway.codes import MIN_LENGTH, CodeSource, is_code
from gateway.handlers import Caller, CreateLink, LinkHandlers, redirect_of
from gateway.intake import Intake
from gateway.redirects import NOT_FOUND
from waypost.errors import AliasTaken, DependencyUnavailable, FieldViolation, InvalidFields, LinkNotFound, RateLimited
from waypost.model import EventType, LimitDecision, LimitEntry, Link, LinkEvent, LinkState, NewLink, Redirect

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
CALLER = Caller("192.0.2.7", "call-1")
URL = "https://example.org/page"
TEN_YEARS = 315_360_000


class Storage:
    """Links and events as they are committed, and nothing else."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.events: list[LinkEvent] = []
        self.asked: list[str] = []
        self.opened = 0
        self.event_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.committing = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.committed: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[Work]:
        self.opened += 1
        yield Work(self)

    async def get_link(self, short_code: str) -> Link | None:
        self.asked.append(short_code)
        return self.links.get(short_code)

    async def read_redirect(self, short_code: str) -> Redirect | None:
        link = await self.get_link(short_code)
        return redirect_of(link) if link is not None else None


class Work:
    """A transaction on `Storage`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.links = LinksOfWork(storage)
        self.outbox = OutboxOfWork(storage)

    async def commit(self) -> None:
        storage = self._storage
        storage.committing.set()
        await storage.may_commit.wait()
        if storage.commit_error is not None:
            raise storage.commit_error
        storage.links |= self.links.changed
        storage.events += self.outbox.added
        storage.committed()


class LinksOfWork:
    """The links inside a transaction."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.changed: dict[str, Link] = {}

    async def add(self, link: NewLink) -> Link | None:
        if link.short_code.lower() in map(str.lower, self._storage.links):
            return None
        added = stored(link)
        self.changed[link.short_code] = added
        return added

    async def get(self, short_code: str) -> Link | None:
        return self._storage.links.get(short_code)

    async def delete(self, short_code: str) -> tuple[Link, bool] | None:
        link = self._storage.links.get(short_code)
        if link is None or link.deleted_at is not None:
            return None if link is None else (link, False)
        link = replace(link, deleted_at=NOW, version=link.version + 1)
        self.changed[short_code] = link
        return link, True


class OutboxOfWork:
    """The events inside a transaction."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.added: list[LinkEvent] = []

    async def add(self, event: LinkEvent) -> None:
        if self._storage.event_error is not None:
            raise self._storage.event_error
        self.added.append(event)


class Limiter:
    """Answers as it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.decision = LimitDecision(True)
        self.asked: list[tuple[str, Sequence[Sequence[LimitEntry]]]] = []

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        self.asked.append((domain, descriptors))
        return self.decision


class Feed:
    """A change feed that is always well."""

    epoch = 1
    last_heartbeat = float("inf")


class Clock:
    """A time of day that stands still."""

    def now(self) -> datetime:
        return NOW


class World:
    """The handlers with everything around them."""

    def __init__(self) -> None:
        self.storage = Storage()
        self.limiter = Limiter()
        self.cache = RedirectCache(self.storage, Feed(), CacheMetrics(CollectorRegistry()))
        self.codes: list[str] = []
        self.handlers = LinkHandlers(
            self.storage,
            self.cache,
            self.limiter,
            Intake(["go.example"]),
            CodeSource(draw=self._draw),
            Clock(),
        )

    def _draw(self, length: int) -> str:
        return self.codes.pop(0) if self.codes else "Abcdefghkm"[:length]

    async def create(self, url: str = URL, **fields: object) -> Link:
        """Creates a link with these fields of `CreateLink`."""
        return await self.handlers.create(replace(CreateLink(url), **fields), CALLER)  # type: ignore[arg-type]


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


def stored(link: NewLink) -> Link:
    return Link(
        link.workspace_id,
        link.short_code,
        link.destination,
        blocked=False,
        version=1,
        created_at=NOW,
        updated_at=NOW,
        deleted_at=None,
        expires_at=link.expires_at,
        redirect_status=link.redirect_status,
    )


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
    world.handlers = LinkHandlers(
        world.storage,
        world.cache,
        world.limiter,
        Intake([]),
        CodeSource(draw=lambda length: (next(drawn), "Abcdefghkmnpqrs"[:length])[1]),
        Clock(),
    )
    with pytest.raises(RuntimeError):
        await world.create()
    assert next(drawn) < 100


async def test_every_wrong_field_is_named_at_once(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.create("ftp://example.org", alias="a b", ttl_seconds=0, redirect_status=303)
    assert fields_of(caught.value) == ["url", "alias", "ttl_seconds", "redirect_status"]
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
    answer = await world.handlers.resolve(link.short_code)
    assert (answer.status, answer.location) == (302, URL)
    assert world.storage.asked == []


async def test_change_that_is_told_before_the_create_comes_back_wins(world: World) -> None:
    def deleted_elsewhere() -> None:
        link = world.storage.links["spring"]
        world.storage.links["spring"] = replace(link, deleted_at=NOW, version=2)
        world.cache.invalidate("spring", 2)

    world.storage.committed = deleted_elsewhere
    await world.create(alias="spring")
    assert (await world.handlers.resolve("spring")).state is LinkState.DELETED


# Limits


async def test_limiter_is_asked_for_the_address(world: World) -> None:
    await world.create()
    entries = (LimitEntry("route_class", "create"), LimitEntry("remote_address", "192.0.2.7"))
    assert world.limiter.asked == [("waypost", [entries])]


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
    await world.handlers.get(link.short_code)
    await world.handlers.resolve(link.short_code)
    await world.handlers.delete(link.short_code, CALLER)
    assert world.limiter.asked == []


# One unit of work


async def test_nothing_is_stored_when_the_event_cannot_be(world: World) -> None:
    link = await world.create(alias="before")
    world.storage.events.clear()
    world.storage.event_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="after")
    with pytest.raises(DependencyUnavailable):
        await world.handlers.delete("before", CALLER)
    assert world.storage.links == {"before": link}
    assert world.storage.events == []
    assert (await world.handlers.resolve("after")) == NOT_FOUND
    assert (await world.handlers.resolve("before")).state is LinkState.ACTIVE


async def test_commit_that_fails_leaves_the_cache_as_it_was(world: World) -> None:
    world.storage.commit_error = DependencyUnavailable("postgres")
    with pytest.raises(DependencyUnavailable):
        await world.create(alias="spring")
    assert await world.handlers.resolve("spring") == NOT_FOUND


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
    assert (await world.handlers.resolve("spring")).location == URL
    assert world.storage.asked == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_delete_goes_on_when_its_caller_has_gone(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.handlers.resolve("spring")).status == 302
    world.storage.committing.clear()
    world.storage.may_commit.clear()
    task = asyncio.create_task(world.handlers.delete("spring", CALLER))
    await world.storage.committing.wait()
    task.cancel()
    await turn()
    world.storage.may_commit.set()
    await turn()
    # Seen here at once, not only when the feed brings it.
    assert (await world.handlers.resolve("spring")).status == 410
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
    assert await world.handlers.get("spring") == link
    deleted = await world.handlers.delete("spring", CALLER)
    assert await world.handlers.get("spring") == deleted


async def test_unknown_link_is_not_found(world: World) -> None:
    await world.create(alias="spring")
    for code in ("summer", "Spring"):
        with pytest.raises(LinkNotFound):
            await world.handlers.get(code)
        with pytest.raises(LinkNotFound):
            await world.handlers.delete(code, CALLER)
        assert await world.handlers.resolve(code) == NOT_FOUND


@pytest.mark.parametrize("code", ["ab", "x" * 65, "a b c", "-abc", "abc+", "abc/def", "abc\n", "abc\0", "ä" * 7, ".."])
async def test_hopeless_codes_do_not_touch_the_storage(world: World, code: str) -> None:
    with pytest.raises(LinkNotFound):
        await world.handlers.get(code)
    with pytest.raises(LinkNotFound):
        await world.handlers.delete(code, CALLER)
    assert await world.handlers.resolve(code) == NOT_FOUND
    assert (world.storage.asked, world.storage.opened) == ([], 0)


async def test_empty_code_is_a_wrong_field(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.handlers.get("")
    assert fields_of(caught.value) == ["short_code"]
    with pytest.raises(InvalidFields):
        await world.handlers.delete("", CALLER)
    assert await world.handlers.resolve("") == NOT_FOUND


async def test_storage_that_is_away_is_said_so(world: World) -> None:
    async def away(short_code: str) -> Link | None:
        raise DependencyUnavailable("postgres")

    world.storage.get_link = away  # type: ignore[method-assign]
    with pytest.raises(DependencyUnavailable):
        await world.handlers.get("spring")
    with pytest.raises(DependencyUnavailable):
        await world.handlers.resolve("spring")


# Deleting


async def test_deleted_link_is_gone_at_once(world: World) -> None:
    await world.create(alias="spring")
    assert (await world.handlers.resolve("spring")).status == 302
    link = await world.handlers.delete("spring", CALLER)
    assert (link.version, link.deleted_at) == (2, NOW)
    answer = await world.handlers.resolve("spring")
    assert (answer.status, answer.state) == (410, LinkState.DELETED)
    assert world.storage.events[-1] == LinkEvent(EventType.LINK_DELETED, link, "call-1")


async def test_deleting_again_changes_nothing(world: World) -> None:
    await world.create(alias="spring")
    first = await world.handlers.delete("spring", CALLER)
    events = list(world.storage.events)
    assert await world.handlers.delete("spring", CALLER) == first
    assert world.storage.events == events


async def test_code_of_a_deleted_link_is_not_free(world: World) -> None:
    await world.create(alias="spring")
    await world.handlers.delete("spring", CALLER)
    with pytest.raises(AliasTaken):
        await world.create(alias="Spring")


async def test_redirect_has_what_the_link_has(world: World) -> None:
    link = await world.create(alias="spring", ttl_seconds=60, redirect_status=307)
    assert redirect_of(link) == Redirect("spring", URL, 307, 1, False, False, NOW + timedelta(seconds=60))
    assert redirect_of(replace(link, blocked=True, deleted_at=NOW)).blocked
    assert redirect_of(replace(link, deleted_at=NOW)).deleted
