"""What the gateway does for those who follow links: redirects, previews and what a redirect would do."""

from __future__ import annotations

from gateway.cache import RedirectCache
from gateway.codes import is_code
from gateway.redirects import NOT_FOUND, Answer, answer, check_query, without_destination
from waypost.model import LinkState, Redirect
from waypost.ports import Clock, RedirectStore


class RedirectHandlers:
    """The use cases of visitors. All raise `DependencyUnavailable` when they must ask and nobody answers.

    Most redirects are answered from the cache. A link with a number of clicks is not: each click is taken in the
    database, and its state, which moves with them, is read there.
    """

    def __init__(self, cache: RedirectCache, reader: RedirectStore, clock: Clock) -> None:
        self._cache = cache
        self._reader = reader
        self._clock = clock

    async def follow(self, short_code: str, query: bytes = b"") -> Answer:
        """The answer to a visitor, who uses one click if the link has a number of them.

        Raises `RequestTooLarge`, having used none.
        """
        if not is_code(short_code):
            return NOT_FOUND
        redirect = await self._cache.lookup(short_code)
        if redirect is None or not redirect.limited:
            return answer(redirect, self._clock.now(), query)
        return await self._use_click(redirect, query)

    async def look(self, short_code: str) -> Answer:
        """What `follow` would answer, using no click; without the destination of a link with a number of clicks."""
        redirect = await self.read(short_code)
        answered = answer(redirect, self._clock.now())
        return without_destination(answered) if redirect is not None and redirect.limited else answered

    async def read(self, short_code: str) -> Redirect | None:
        """The link as visitors may see it, using no click; None if there is none."""
        if not is_code(short_code):
            return None
        redirect = await self._cache.lookup(short_code)
        if redirect is not None and redirect.limited:
            return await self._reader.read_redirect(short_code)
        return redirect

    async def _use_click(self, cached: Redirect, query: bytes) -> Answer:
        redirect: Redirect | None = cached
        # Twice: whoever raises the number, or takes it away, between the two statements is not answered "used up".
        for _ in range(2):
            if redirect is None or not redirect.limited or redirect.state(self._clock.now()) is not LinkState.ACTIVE:
                return answer(redirect, self._clock.now(), query)
            check_query(redirect, query)
            taken = await self._reader.use_click(cached.short_code)
            if taken is not None:
                # Taken is taken, also when the link's time is up by now.
                return answer(taken, self._clock.now(), query)
            redirect = await self._reader.read_redirect(cached.short_code)
        return Answer(410, state=LinkState.EXHAUSTED)
