"""The use cases of LinkService with everything around them in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.cache import CacheMetrics, RedirectCache
from gateway.codes import CodeSource
from gateway.following import RedirectHandlers
from gateway.handlers import LinkHandlers, Outcome
from gateway.intake import Intake
from gateway.requests import Caller, Content, CreateLink, UpdateLink
from gateway.rules import LinkRules
from gateway.transactions import Reply, Transactions
from tests.support.identities import as_owner
from tests.support.memory_storage import NOW, MemoryStorage
from waypost.errors import InvalidFields
from waypost.model import DEFAULT_WORKSPACE, IdempotencyKey, LimitDecision, LimitEntry, Link

CALLER = Caller(as_owner(), DEFAULT_WORKSPACE, "call-1")
URL = "https://example.org/page"


class Limiter:
    """Answers as it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.decision = LimitDecision(True)
        self.asked: list[tuple[str, Sequence[Sequence[LimitEntry]]]] = []
        self.hits: list[int] = []

    async def check(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1) -> LimitDecision:
        self.asked.append((domain, descriptors))
        self.hits.append(hits)
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
    """The handlers with everything around them. What changes something returns what its reply was asked to encode."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.limiter = Limiter()
        self.cache = RedirectCache(self.storage, Feed(), CacheMetrics(CollectorRegistry()))
        self.codes: list[str] = []
        self.links = self.handlers_with(CodeSource(draw=self._draw))
        self.redirects = RedirectHandlers(self.cache, self.storage, Clock())
        self.answers: list[Any] = []

    def handlers_with(self, codes: CodeSource) -> LinkHandlers:
        rules = LinkRules(Intake(["go.example"]), Clock())
        transactions = Transactions(self.storage, self.cache)
        return LinkHandlers(self.storage, transactions, self.limiter, rules, codes, Clock())

    def _draw(self, length: int) -> str:
        return self.codes.pop(0) if self.codes else "Abcdefghkm"[:length]

    def reply(self, key: str = "", fingerprint: bytes = b"f" * 32, method: str = "CreateLink") -> Reply[Any]:
        """Encodes an answer as its place in `answers`."""

        def encode(answer: object) -> bytes:
            self.answers.append(answer)
            return str(len(self.answers) - 1).encode()

        named = IdempotencyKey(DEFAULT_WORKSPACE, "anonymous", method, key, fingerprint) if key else None
        return Reply(encode, named)

    async def create(
        self, url: str = URL, *, alias: str = "", key: str = "", caller: Caller = CALLER, **fields: Any
    ) -> Link:
        """Creates a link with these fields of `Content`."""
        request = CreateLink(Content(url, **fields), alias)
        return self._link(await self.links.create(request, caller, self.reply(key)))

    async def get(self, code: str, caller: Caller = CALLER) -> Link:
        return await self.links.get(code, caller)

    async def batch(self, *requests: CreateLink, key: str = "") -> Sequence[Outcome]:
        answer = await self.links.batch_create(requests, CALLER, self.reply(key))
        outcomes: Sequence[Outcome] = self.answers[int(answer)]
        return outcomes

    async def update(self, code: str, *, etag: str = "", also: tuple[str, ...] = (), **fields: Any) -> Link:
        """Changes these fields, and clears those of `also`."""
        request = UpdateLink(code, Content(**fields), frozenset([*fields, *also]), etag)
        return self._link(await self.links.update(request, CALLER, self.reply()))

    async def delete(self, code: str, etag: str = "") -> Link:
        return self._link(await self.links.delete(code, etag, CALLER, self.reply()))

    async def undelete(self, code: str, etag: str = "") -> Link:
        return self._link(await self.links.undelete(code, etag, CALLER, self.reply()))

    def _link(self, answer: bytes) -> Link:
        link = self.answers[int(answer)]
        assert isinstance(link, Link)
        return link


def wanted(url: str = URL, alias: str = "") -> CreateLink:
    """What a batch asks for, of one link."""
    return CreateLink(Content(url), alias)


def fields_of(error: InvalidFields) -> list[str]:
    """The fields that a refusal names."""
    return [violation.field for violation in error.violations]
