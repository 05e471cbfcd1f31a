"""Who follows a link: which clicks are taken, by whom, and what is told without one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.redirects import NOT_FOUND, Answer
from tests.support.visitors import NOW, URL, MemoryRedirectReader, StandingClock, link, visitors
from waypost.errors import DependencyUnavailable, RequestTooLarge
from waypost.model import LinkState, Redirect

CODE = "abc1234"
GONE = Answer(410, state=LinkState.EXHAUSTED)
THERE = Answer(302, URL, LinkState.ACTIVE)
UNTOLD = Answer(302, "", LinkState.ACTIVE)


def limited(clicks: int, redirect: Redirect | None = None) -> MemoryRedirectReader:
    """A store with one link that has this number of clicks."""
    reader = MemoryRedirectReader()
    reader.limit(redirect or link(CODE), clicks)
    return reader


async def test_a_link_without_a_number_of_clicks_is_read_once_and_asks_nobody() -> None:
    reader = MemoryRedirectReader(link(CODE))
    handlers = visitors(reader, StandingClock())

    def never() -> bool:
        raise AssertionError("asked")

    for _ in range(5):
        assert await handlers.follow(CODE, b"x=1", never) == THERE
    assert (reader.asked, reader.used) == ([CODE], [])


@pytest.mark.parametrize("code", ["", "a", "_abc", "a+b", "a/b", "x" * 65, "abc1234\n", "caf\u00e9"])
async def test_what_cannot_be_a_code_asks_nobody(code: str) -> None:
    reader = MemoryRedirectReader()
    handlers = visitors(reader, StandingClock())
    assert await handlers.follow(code) == await handlers.look(code) == NOT_FOUND
    assert await handlers.preview(code) is None
    assert reader.asked == []


async def test_unknown_codes_are_not_found() -> None:
    handlers = visitors(MemoryRedirectReader(), StandingClock())
    assert await handlers.follow(CODE) == await handlers.look(CODE) == NOT_FOUND
    assert await handlers.preview(CODE) is None


@pytest.mark.parametrize("clicks", [1, 2, 20])
async def test_each_click_is_taken_once_however_many_come_at_once(clicks: int) -> None:
    reader = limited(clicks)
    handlers = visitors(reader, StandingClock())
    answers = await asyncio.gather(*(handlers.follow(CODE) for _ in range(50)))
    assert answers.count(THERE) == clicks
    assert answers.count(GONE) == 50 - clicks
    assert len(reader.used) == clicks


async def test_who_takes_no_click_is_not_told_where_it_leads() -> None:
    reader = limited(1)
    handlers = visitors(reader, StandingClock())
    for _ in range(3):
        assert await handlers.follow(CODE, b"", lambda: False) == UNTOLD
        assert await handlers.look(CODE) == UNTOLD
        told = await handlers.preview(CODE)
        assert told is not None
        assert (told.url, told.state, told.limited) == ("", LinkState.ACTIVE, True)
    assert reader.used == []
    assert await handlers.follow(CODE) == THERE
    # The last click is seen at once, though the cache knows nothing of it.
    assert await handlers.follow(CODE, b"", lambda: False) == await handlers.look(CODE) == GONE
    told = await handlers.preview(CODE)
    assert told is not None
    assert told.state is LinkState.EXHAUSTED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"warned": True}, Answer(200, state=LinkState.WARNED)),
        ({"blocked": True}, Answer(451, state=LinkState.BLOCKED)),
        ({"deleted": True}, Answer(410, state=LinkState.DELETED)),
        ({"expires_at": NOW - timedelta(hours=1)}, Answer(410, state=LinkState.EXPIRED)),
    ],
)
async def test_what_does_not_redirect_uses_no_click(changes: dict[str, Any], expected: Answer) -> None:
    reader = limited(1, replace(link(CODE), **changes))
    handlers = visitors(reader, StandingClock())
    assert await handlers.follow(CODE) == expected
    assert await handlers.follow(CODE, b"", lambda: False) == await handlers.look(CODE) == expected
    assert (reader.used, reader.clicks) == ([], {CODE: 1})


async def test_a_query_that_is_too_long_uses_no_click() -> None:
    reader = limited(1, replace(link(CODE), forward_query=True))
    handlers = visitors(reader, StandingClock())
    for takes_click in (lambda: True, lambda: False):
        with pytest.raises(RequestTooLarge):
            await handlers.follow(CODE, b"x" * 2049, takes_click)
    assert reader.used == []
    assert (await handlers.follow(CODE, b"x" * 2048)).location == f"https://example.org/a?b=c&{'x' * 2048}#d"
    assert reader.used == [CODE]


class Rival(MemoryRedirectReader):
    """A store in which somebody takes the last click just before us, and somebody else changes the link just after."""

    def __init__(self, after: Redirect) -> None:
        super().__init__()
        self.limit(link(CODE), 1)
        self._after: Redirect | None = after

    async def use_click(self, short_code: str) -> Redirect | None:
        if self._after is None:
            return await super().use_click(short_code)
        self.links[short_code], self._after = self._after, None
        self.clicks[short_code] = 5
        return None


@pytest.mark.parametrize(
    ("after", "expected", "used"),
    [
        # The number is raised, or taken away, between the two statements.
        (replace(link(CODE), limited=True), THERE, 1),
        (link(CODE), THERE, 0),
        (replace(link(CODE), limited=True, deleted=True), Answer(410, state=LinkState.DELETED), 0),
    ],
)
async def test_a_change_between_the_statements_is_heeded(after: Redirect, expected: Answer, used: int) -> None:
    reader = Rival(after)
    assert await visitors(reader, StandingClock()).follow(CODE) == expected
    assert len(reader.used) == used


async def test_nothing_redirects_after_its_end_even_for_a_click_that_was_taken_in_time() -> None:
    clock = StandingClock()

    class Slow(MemoryRedirectReader):
        async def use_click(self, short_code: str) -> Redirect | None:
            taken = await super().use_click(short_code)
            clock.time = NOW + timedelta(seconds=1)
            return taken

    reader = Slow()
    reader.limit(replace(link(CODE), expires_at=NOW + timedelta(seconds=1)), 1)
    assert await visitors(reader, clock).follow(CODE) == Answer(410, state=LinkState.EXPIRED)
    assert reader.used == [CODE]


async def test_without_the_database_only_links_without_a_number_of_clicks_are_followed() -> None:
    reader = limited(5)
    reader.links["free123"] = link("free123")
    handlers = visitors(reader, StandingClock())
    for code in (CODE, "free123"):
        assert (await handlers.follow(code)).location == URL
        reader.errors[code] = DependencyUnavailable("postgres")
    assert await handlers.follow("free123") == THERE
    for call in (handlers.follow(CODE), handlers.follow(CODE, b"", lambda: False), handlers.look(CODE)):
        with pytest.raises(DependencyUnavailable):
            await call
    with pytest.raises(DependencyUnavailable):
        await handlers.preview(CODE)
