"""A server in memory, as an import sees one: aliases unique without regard to case, requests done once by their id."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from waypost.client import Link, LinkState, NewLink
from waypost.errors import AliasTaken, FieldViolation, InvalidFields, LinkNotFound, WaypostError

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RESERVED = "healthz"

Before = Callable[[int], WaypostError | None]


class MemoryServer:
    """`before(n)` may refuse the `n`th batch (from 1) that comes in, `lose(n)` its answer once it is made."""

    def __init__(self, before: Before = lambda _: None, lose: Before = lambda _: None) -> None:
        self.links: dict[str, Link] = {}
        self.made: Counter[str] = Counter()
        """How many links were made, by URL."""
        self.arrivals: list[list[str]] = []
        """The URLs of each batch that came in, whatever became of it."""
        self.ids: list[str] = []
        self.lookups = 0
        self.at_once = self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._before = before
        self._lose = lose
        self._answers: dict[str, list[Link | WaypostError]] = {}
        self._random = itertools.count()

    def forget_requests(self) -> None:
        """As a server does after a day."""
        self._answers.clear()

    async def batch_create(self, links: Iterable[NewLink], *, request_id: str) -> Sequence[Link | WaypostError]:
        wanted = list(links)
        self.arrivals.append([link.url for link in wanted])
        self.ids.append(request_id)
        number = len(self.arrivals)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            # Others get their chance to come in.
            for _ in range(20):
                await asyncio.sleep(0)
            if error := self._before(number):
                raise error
            if request_id not in self._answers:
                self._answers[request_id] = [self._make(link) for link in wanted]
            if error := self._lose(number):
                raise error
            return self._answers[request_id]
        finally:
            self.at_once -= 1

    async def get(self, short_code: str) -> Link:
        self.lookups += 1
        await asyncio.sleep(0)
        if short_code not in self.links:
            raise LinkNotFound(short_code)
        return self.links[short_code]

    def _make(self, new: NewLink) -> Link | WaypostError:
        code = new.alias or f"random{next(self._random)}"
        if code.lower() in {known.lower() for known in self.links} if len(self.links) < 5000 else code in self.links:
            return AliasTaken(code)
        if code.lower() == RESERVED:
            return InvalidFields([FieldViolation("alias", "is a reserved word: choose another alias")])
        self.made[new.url] += 1
        self.links[code] = link(
            code,
            new.url,
            title=new.title,
            tags=tuple(new.tags),
            expires_at=new.expires_at,
            max_clicks=new.max_clicks,
            redirect_status=new.redirect_status or 302,
            forward_query=new.forward_query,
        )
        return self.links[code]


def link(
    code: str,
    url: str = "https://example.com/",
    *,
    title: str = "",
    tags: tuple[str, ...] = (),
    state: LinkState = LinkState.ACTIVE,
    expires_at: datetime | None = None,
    max_clicks: int = 0,
    clicks_used: int = 0,
    redirect_status: int = 302,
    forward_query: bool = False,
) -> Link:
    """A link as a server returns it."""
    return Link(
        short_code=code,
        short_url=f"https://go.example.com/{code}",
        original_url=url,
        title=title,
        tags=tags,
        state=state,
        created_at=AT,
        updated_at=AT,
        expires_at=expires_at,
        max_clicks=max_clicks,
        clicks_used=clicks_used,
        redirect_status=redirect_status,
        forward_query=forward_query,
        etag="v1",
        destination_flags=(),
    )
