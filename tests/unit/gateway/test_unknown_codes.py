"""Whoever tries out codes is soon not looked up for any more; everybody else, and what is cached, does not notice."""

from __future__ import annotations

import asyncio
import itertools
import random
import string
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from gateway.following import RedirectHandlers
from gateway.redirects import NOT_FOUND
from tests.support.structured_fields import told_limit
from tests.support.visitors import MemoryRedirectReader, StandingClock, link, visitors
from tests.support.web import BROWSER, Web, detail
from waypost.access.failures import Failures
from waypost.errors import DependencyUnavailable, RateLimited
from waypost.model import Redirect

LIMIT = 120
HERE, THERE = (lambda: "192.0.2.7"), (lambda: "198.51.100.1")
KNOWN = "known12"


class Time:
    """Microseconds that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now


class Gated(MemoryRedirectReader):
    """Links that are found when the gate is open; `arrivals` has each code that is asked for, when it is."""

    def __init__(self, *links: Redirect) -> None:
        super().__init__(*links)
        self.arrivals: asyncio.Queue[str] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()

    async def read_redirect(self, short_code: str) -> Redirect | None:
        found = await super().read_redirect(short_code)
        self.arrivals.put_nowait(short_code)
        await self.gate.wait()
        return found


class World:
    """The redirect path over links that tests name, and a clock for the limit."""

    def __init__(self, *codes: str, limit: int = LIMIT) -> None:
        self.time = Time()
        self.reader = Gated(link(KNOWN), *map(link, codes))
        unknown = Failures(limit, self.time, rule="unknown_codes")
        self.visitors: RedirectHandlers = visitors(self.reader, StandingClock(), unknown)

    async def follow(self, code: str, address: Callable[[], str] = HERE) -> int:
        """The status of an answer; 429: there was none."""
        try:
            return (await self.visitors.follow(code, address=address)).status
        except RateLimited:
            return 429


def codes(seed: int = 1) -> Iterator[str]:
    """Random ones, without an end."""
    source = random.Random(seed)
    while True:
        yield "".join(source.choices(string.ascii_letters + string.digits, k=7))


async def test_a_scan_of_ten_thousand_codes_asks_the_database_for_few() -> None:
    world = World()
    assert await world.follow(KNOWN) == 302
    world.reader.asked.clear()
    answers = [await world.follow(code) for code in itertools.islice(codes(), 10_000)]
    assert answers == [404] * LIMIT + [429] * (10_000 - LIMIT)
    assert len(world.reader.asked) == LIMIT
    # What is cached goes on, for whoever asks.
    assert [await world.follow(KNOWN, who) for who in (HERE, THERE)] == [302, 302]
    assert len(world.reader.asked) == LIMIT


async def test_others_are_looked_up_for_as_before() -> None:
    world = World("second1")
    for code in itertools.islice(codes(), LIMIT):
        await world.follow(code)
    # Whether a code that is not cached exists is just what a scan is to find out.
    assert await world.follow("second1") == 429
    assert await world.follow("second1", THERE) == 302
    assert await world.follow("second1") == 302
    assert await world.follow("nothing", THERE) == 404


async def test_it_comes_back_evenly_and_the_refusal_says_when() -> None:
    world = World()
    for code in itertools.islice(codes(), LIMIT):
        await world.follow(code)
    with pytest.raises(RateLimited) as caught:
        await world.visitors.follow("another", address=HERE)
    assert (caught.value.rule, caught.value.retry_after) == ("unknown_codes", 0.5)
    world.time.now += 500_000
    assert [await world.follow(code) for code in itertools.islice(codes(2), 3)] == [404, 429, 429]


async def test_all_ways_to_ask_for_a_code_share_one_limit() -> None:
    world = World(limit=3)
    source = codes()
    assert await world.visitors.follow(next(source), address=HERE) == NOT_FOUND
    assert await world.visitors.look(next(source), HERE) == NOT_FOUND
    assert await world.visitors.preview(next(source), HERE) is None
    for ask in (
        partial(world.visitors.follow, address=HERE),
        partial(world.visitors.look, address=HERE),
        partial(world.visitors.preview, address=HERE),
    ):
        with pytest.raises(RateLimited):
            await ask(next(source))
    assert len(world.reader.asked) == 3


async def test_what_costs_no_look_up_is_not_counted() -> None:
    world = World(limit=3)
    for _ in range(100):
        assert await world.follow("no code at all") == 404
        assert await world.follow("missing") == 404
    assert world.reader.asked == ["missing"]
    assert [await world.follow(code) for code in itertools.islice(codes(), 3)] == [404, 404, 429]


async def test_links_that_are_there_cost_nothing_however_many() -> None:
    there = list(itertools.islice(codes(), 1000))
    world = World(*there, limit=3)
    assert {await world.follow(code) for code in there} == {302}
    assert len(world.reader.asked) == 1000


async def test_many_at_once_ask_for_no_more() -> None:
    world = World()
    world.reader.gate.clear()
    asked = [asyncio.create_task(world.follow(code)) for code in itertools.islice(codes(), 1000)]
    for _ in range(LIMIT):
        await world.reader.arrivals.get()
    # Whoever is refused is so at once, the others wait for their look-up.
    await asyncio.wait(asked[LIMIT:])
    assert [task.done() for task in asked] == [False] * LIMIT + [True] * (1000 - LIMIT)
    assert len(world.reader.asked) == LIMIT
    world.reader.gate.set()
    assert sorted(await asyncio.gather(*asked)) == [404] * LIMIT + [429] * (1000 - LIMIT)


async def test_who_does_not_wait_for_the_answer_is_counted_too() -> None:
    world = World(limit=3)
    world.reader.gate.clear()
    for code in itertools.islice(codes(), 3):
        task = asyncio.create_task(world.follow(code))
        assert await world.reader.arrivals.get() == code
        task.cancel()
        await asyncio.wait([task])
    assert await world.follow("another") == 429
    look_ups = [task for task in asyncio.all_tasks() if task.get_name() == "cache_read"]
    world.reader.gate.set()
    await asyncio.wait(look_ups)
    # Now they are known to have found nothing, and are not only suspected of it.
    with pytest.raises(RateLimited) as caught:
        await world.visitors.follow("another", address=HERE)
    assert caught.value.retry_after == 20.0


async def test_a_database_that_is_away_makes_nobody_guilty() -> None:
    world = World(limit=3)
    tried = list(itertools.islice(codes(), 20))
    world.reader.errors = {code: DependencyUnavailable("postgres") for code in tried}
    for code in tried:
        with pytest.raises(DependencyUnavailable):
            await world.visitors.follow(code, address=HERE)
    assert await world.follow("another") == 404


@pytest.mark.parametrize("accept", ["*/*", BROWSER, "application/problem+json"])
async def test_the_answer_says_why_and_until_when(accept: str) -> None:
    web = Web(unknown=Failures(60, Time(), rule="unknown_codes"))
    for code in itertools.islice(codes(), 60):
        assert (await web.request(f"/{code}", accept=accept)).status_code == 404
    asked = len(web.reader.asked)
    for path in ("/another", "/another+", "/another/"):
        response = await web.request(path, accept=accept)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert response.headers["cache-control"] == "no-store"
        assert told_limit(response.headers) == ("unknown_codes", 60, 60, 0, 1)
        if accept == BROWSER:
            assert "Too many at once" in response.text
        else:
            assert detail(response, "ErrorInfo")["reason"] == "ERROR_REASON_RATE_LIMITED"
            assert detail(response, "ErrorInfo")["metadata"] == {"limit": "unknown_codes"}
    assert len(web.reader.asked) == asked
    assert web.counted(429) == 2
    assert (await web.request("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("10.1.0.9", "192.0.2.7", "192.0.2.7"),
        ("10.1.0.9", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("10.1.0.9", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("10.2.0.9", "192.0.2.7", "10.2.0.9"),
    ],
)
async def test_it_is_the_visitors_address_that_counts(client: str, forwarded: str, address: str) -> None:
    """Of those whom a trusted proxy names, never of those who name themselves."""
    unknown = Failures(1, Time(), rule="unknown_codes")
    web = Web(unknown=unknown, trusted=("10.1.0.0/16",))
    assert (await web.request("/nothing", client=client, x_forwarded_for=forwarded)).status_code == 404
    with pytest.raises(RateLimited):
        unknown.check(address)
