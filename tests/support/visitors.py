"""The redirect path with links in memory: the real use cases and cache over a store that tests can look into."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from gateway.cache import CacheMetrics, RedirectCache
from gateway.following import RedirectHandlers
from waypost.access.failures import Failures
from waypost.model import LinkState, Redirect

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
URL = "https://example.org/a?b=c#d"


def link(short_code: str, url: str = URL, redirect_status: int = 302) -> Redirect:
    """An active link of `NOW`; `dataclasses.replace` makes others of it."""
    return Redirect(short_code, url, redirect_status, 1, blocked=False, deleted=False, expires_at=None, created_at=NOW)


class MemoryRedirectReader:
    """Links, and how many clicks those have left that have a number of them; `waypost.ports.RedirectReader`.

    `errors`: what a look at a code raises. `used`: the codes of which clicks were taken, in order.
    """

    def __init__(self, *links: Redirect) -> None:
        self.links = {link.short_code: link for link in links}
        self.clicks: dict[str, int] = {}
        self.errors: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.used: list[str] = []

    def limit(self, redirect: Redirect, clicks: int) -> None:
        """Stores the link with this number of clicks."""
        self.links[redirect.short_code] = replace(redirect, limited=True)
        self.clicks[redirect.short_code] = clicks

    async def read_redirect(self, short_code: str) -> Redirect | None:
        self.asked.append(short_code)
        self._fail(short_code)
        found = self.links.get(short_code)
        if found is None or not found.limited:
            return found
        return replace(found, exhausted=self.clicks[short_code] == 0)

    async def use_click(self, short_code: str) -> Redirect | None:
        self._fail(short_code)
        found = await self.read_redirect(short_code)
        if found is None or not found.limited or found.state(NOW) is not LinkState.ACTIVE:
            return None
        self.clicks[short_code] -= 1
        self.used.append(short_code)
        return replace(found, exhausted=False)

    def _fail(self, short_code: str) -> None:
        if short_code in self.errors:
            raise self.errors[short_code]


class Feed:
    """A change feed that is well."""

    epoch = 1

    @property
    def last_heartbeat(self) -> float:
        """As young as can be."""
        return time.monotonic()


class StandingClock:
    """Time that moves when a test moves it."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


def visitors(reader: MemoryRedirectReader, clock: StandingClock, unknown: Failures | None = None) -> RedirectHandlers:
    """The use cases of visitors over these links; `unknown` bounds what each address may try out."""
    cache = RedirectCache(reader, Feed(), CacheMetrics(CollectorRegistry()), unknown=unknown)
    return RedirectHandlers(cache, reader, clock)
