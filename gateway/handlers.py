"""What the gateway does with links: use cases that know neither gRPC nor a driver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from gateway import redirects
from gateway.cache import RedirectCache
from gateway.codes import CodeSource, check_alias, is_code
from gateway.intake import Intake
from waypost.errors import AliasTaken, FieldViolation, InvalidFields, LinkNotFound, RateLimited
from waypost.model import (
    DEFAULT_REDIRECT_STATUS,
    DEFAULT_WORKSPACE,
    MESH_LIMIT_DOMAIN,
    REDIRECT_STATUSES,
    Destination,
    EventType,
    LimitEntry,
    Link,
    LinkEvent,
    NewLink,
    Redirect,
)
from waypost.ports import Clock, Limiter, Storage

T = TypeVar("T")

MAX_TTL_SECONDS = 315_360_000
LAST_EXPIRY_YEAR = 9998


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a use case runs: the masked address and the call's correlation id."""

    address: str
    correlation_id: str
    workspace_id: UUID = DEFAULT_WORKSPACE


@dataclass(frozen=True, slots=True)
class CreateLink:
    """What was asked for, as it came: `expires_at` and `ttl_seconds` exclude each other, "" and status 0 mean absent.

    `malformed` lists fields that no value could be made of.
    """

    url: str
    alias: str = ""
    expires_at: datetime | None = None
    ttl_seconds: int | None = None
    redirect_status: int = 0
    malformed: tuple[FieldViolation, ...] = ()


class LinkHandlers:
    """The use cases of LinkService."""

    def __init__(
        self,
        storage: Storage,
        cache: RedirectCache,
        limiter: Limiter,
        intake: Intake,
        codes: CodeSource,
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._cache = cache
        self._limiter = limiter
        self._intake = intake
        self._codes = codes
        self._clock = clock
        # Transactions under way; kept so that those whose caller has gone are not collected before they are done.
        self._commits: set[asyncio.Future[Any]] = set()

    async def create(self, request: CreateLink, caller: Caller) -> Link:
        """Stores a new link and its event.

        Raises `RateLimited`, `InvalidFields`, `AliasTaken`, `DependencyUnavailable`.
        """
        await self._admit("create", caller)
        destination, expires_at, status = self._validated(request)

        def new_link(short_code: str) -> NewLink:
            return NewLink(caller.workspace_id, short_code, destination, expires_at, status)

        if request.alias:
            link = await self._to_its_end(self._insert(new_link(request.alias), caller))
            if link is None:
                raise AliasTaken(request.alias)
        else:
            link = await self._to_its_end(self._insert_with_random_code(new_link, caller))
        return link

    async def get(self, short_code: str) -> Link:
        """The link in whatever state; raises `LinkNotFound`, `DependencyUnavailable`."""
        _require(short_code)
        link = await self._storage.get_link(short_code) if is_code(short_code) else None
        if link is None:
            raise LinkNotFound(short_code)
        return link

    async def delete(self, short_code: str, caller: Caller) -> Link:
        """Takes the link out of service; once deleted, deleting again changes nothing. Raises as `get`."""
        _require(short_code)
        if not is_code(short_code):
            raise LinkNotFound(short_code)
        return await self._to_its_end(self._delete(short_code, caller))

    async def resolve(self, short_code: str) -> redirects.Answer:
        """What a redirect of this code would do now; raises `DependencyUnavailable`."""
        if not is_code(short_code):
            return redirects.NOT_FOUND
        return redirects.answer(await self._cache.lookup(short_code), self._clock.now())

    async def _admit(self, route_class: str, caller: Caller) -> None:
        descriptor: Sequence[LimitEntry] = (
            LimitEntry("route_class", route_class),
            LimitEntry("remote_address", caller.address),
        )
        decision = await self._limiter.check(MESH_LIMIT_DOMAIN, [descriptor])
        if not decision.allowed:
            raise RateLimited(decision.rule, decision.retry_after)

    def _validated(self, request: CreateLink) -> tuple[Destination, datetime | None, int]:
        violations = list(request.malformed)

        def collect(check: Callable[[], T]) -> T | None:
            try:
                return check()
            except InvalidFields as error:
                violations.extend(error.violations)
                return None

        destination = collect(lambda: self._intake.destination(request.url))
        if request.alias:
            collect(lambda: check_alias(request.alias))
        expires_at = collect(lambda: self._expiry(request))
        status = request.redirect_status or DEFAULT_REDIRECT_STATUS
        if status not in REDIRECT_STATUSES:
            violations.append(FieldViolation("redirect_status", "must be 301, 302, 307 or 308 (or absent: 302)"))
        if violations or destination is None:
            raise InvalidFields(violations)
        return destination, expires_at, status

    def _expiry(self, request: CreateLink) -> datetime | None:
        now = self._clock.now()
        if request.ttl_seconds is not None:
            if not 1 <= request.ttl_seconds <= MAX_TTL_SECONDS:
                raise InvalidFields.one("ttl_seconds", f"must be 1 to {MAX_TTL_SECONDS} (ten years)")
            return now + timedelta(seconds=request.ttl_seconds)
        if request.expires_at is not None:
            if request.expires_at <= now:
                raise InvalidFields.one("expires_at", f"must be in the future (it is {now:%Y-%m-%dT%H:%M:%SZ} now)")
            if request.expires_at.year > LAST_EXPIRY_YEAR:
                raise InvalidFields.one(
                    "expires_at", "must be before the year 9999; leave it out for a link without end"
                )
        return request.expires_at

    async def _insert(self, new: NewLink, caller: Caller) -> Link | None:
        since = self._cache.mark()
        async with self._storage.unit_of_work() as work:
            link = await work.links.add(new)
            if link is None:
                return None
            await work.outbox.add(LinkEvent(EventType.LINK_CREATED, link, caller.correlation_id))
            await work.commit()
        # A part of the work, not of the call: what is committed is true whether or not its caller still waits.
        self._cache.put(redirect_of(link), since)
        return link

    async def _insert_with_random_code(self, new_link: Callable[[str], NewLink], caller: Caller) -> Link:
        for code in self._codes.candidates():
            link = await self._insert(new_link(code), caller)
            if link is not None:
                return link
        raise RuntimeError("no free short code found")

    async def _delete(self, short_code: str, caller: Caller) -> Link:
        async with self._storage.unit_of_work() as work:
            deleted = await work.links.delete(short_code)
            if deleted is None:
                raise LinkNotFound(short_code)
            link, changed = deleted
            if changed:
                await work.outbox.add(LinkEvent(EventType.LINK_DELETED, link, caller.correlation_id))
                await work.commit()
        self._cache.invalidate(short_code, link.version)
        return link

    async def _to_its_end(self, work: Awaitable[T]) -> T:
        """Runs a transaction to its end even if the caller goes away: a commit in flight is not to be torn."""
        future = asyncio.ensure_future(work)
        self._commits.add(future)
        future.add_done_callback(self._forget)
        return await asyncio.shield(future)

    def _forget(self, future: asyncio.Future[T]) -> None:
        self._commits.discard(future)
        if not future.cancelled():
            future.exception()


def redirect_of(link: Link) -> Redirect:
    """The columns of a link that its redirect needs."""
    return Redirect(
        short_code=link.short_code,
        url=link.destination.url,
        redirect_status=link.redirect_status,
        version=link.version,
        blocked=link.blocked,
        deleted=link.deleted_at is not None,
        expires_at=link.expires_at,
    )


def _require(short_code: str) -> None:
    if not short_code:
        raise InvalidFields.one("short_code", "must not be empty")
