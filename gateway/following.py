"""What the gateway does for those who follow links: redirects, previews and what a redirect would do."""

from __future__ import annotations

from collections.abc import Callable

from gateway.cache import RedirectCache
from gateway.codes import is_code
from gateway.redirects import (
    MAX_QUERY_BYTES,
    NOT_FOUND,
    Answer,
    Preview,
    answer,
    check_query,
    preview,
    without_destination,
)
from waypost.model import LinkState, Redirect
from waypost.ports import Clock, RedirectStore


class RedirectHandlers:
    """The use cases of visitors. All raise `DependencyUnavailable` when they must ask and nobody answers.

    `address` of each tells who asks: an address that has asked for too many links that are none gets `RateLimited`
    where the cache does not know the code; without it, nobody does.

    Most redirects are answered from the cache. A link with a number of clicks is not: each click is taken in the
    database, and its state, which moves with them, is read there.
    """

    def __init__(self, cache: RedirectCache, reader: RedirectStore, clock: Clock) -> None:
        self._cache = cache
        self._reader = reader
        self._clock = clock

    async def follow(
        self,
        short_code: str,
        query: bytes = b"",
        takes_click: Callable[[], bool] = lambda: True,
        address: Callable[[], str] | None = None,
    ) -> Answer:
        """The answer to a visitor, who takes one click if the link has a number of them.

        `takes_click` is asked for such links only. Who takes none is told all but where the link leads.
        Raises `RequestTooLarge`, no click having been taken.
        """
        if not is_code(short_code):
            return NOT_FOUND
        redirect = await self._cache.lookup(short_code, address)
        if redirect is None or not redirect.limited:
            return answer(redirect, self._clock.now(), query)
        if takes_click():
            return await self._use_click(redirect, query)
        return self._answer_without_click(await self._reader.read_redirect(short_code), query)

    async def look(self, short_code: str, address: Callable[[], str] | None = None) -> Answer:
        """What `follow` would answer, taking no click; without the destination of a link with a number of clicks."""
        return self._answer_without_click(await self._read(short_code, address))

    async def preview(self, short_code: str, address: Callable[[], str] | None = None) -> Preview | None:
        """What is told of the link before it is followed, taking no click; None if there is none."""
        redirect = await self._read(short_code, address)
        return None if redirect is None else preview(redirect, self._clock.now())

    async def _read(self, short_code: str, address: Callable[[], str] | None) -> Redirect | None:
        if not is_code(short_code):
            return None
        redirect = await self._cache.lookup(short_code, address)
        if redirect is not None and redirect.limited:
            return await self._reader.read_redirect(short_code)
        return redirect

    def _answer_without_click(self, redirect: Redirect | None, query: bytes = b"") -> Answer:
        answered = answer(redirect, self._clock.now(), query)
        return without_destination(answered) if redirect is not None and redirect.limited else answered

    async def _use_click(self, cached: Redirect, query: bytes) -> Answer:
        redirect: Redirect | None = cached
        # Twice: whoever raises the number, or takes it away, between the two statements is not answered "used up".
        for _ in range(2):
            if redirect is None or not redirect.limited or redirect.state(self._clock.now()) is not LinkState.ACTIVE:
                return answer(redirect, self._clock.now(), query)
            check_query(redirect, query)
            taken = await self._reader.use_click(cached.short_code)
            if taken is not None:
                # Taken is taken, also if the link's time is up by now and it leads nowhere; and if it has only just
                # begun to forward queries, of which this one is too long, it goes without.
                fits = len(query) <= MAX_QUERY_BYTES
                return answer(taken, self._clock.now(), query if fits else b"")
            redirect = await self._reader.read_redirect(cached.short_code)
        return Answer(410, state=LinkState.EXHAUSTED)
