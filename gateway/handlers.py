"""What the gateway does with links for their owners: use cases that know neither gRPC nor a driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NoReturn, TypeVar

from gateway.breath import Breath
from gateway.codes import CodeSource, is_code
from gateway.listing import list_query, next_page_token
from gateway.requests import Caller, CreateLink, UpdateLink
from gateway.rules import LinkRules
from gateway.transactions import Change, Reply, Transactions
from waypost.access.limits import charge
from waypost.access.policies import LimitClass
from waypost.audit import Action, AuditEntry, entry_of
from waypost.convert import etag
from waypost.errors import (
    AliasTaken,
    EtagMismatch,
    InvalidFields,
    LinkGone,
    LinkNotFound,
    WaypostError,
)
from waypost.model import Destination, EventType, Link, LinkEvent, NewLink
from waypost.ports import Clock, Limiter, Storage, UnitOfWork

T = TypeVar("T")

MAX_BATCH = 1000
_CHUNK = 25
"""Links of a batch that are stored at once: redirects wait for what one statement takes to be made ready."""

Outcome = Link | WaypostError
"""What became of one request of a batch."""


class LinkHandlers:
    """The use cases of LinkService. Those that change something return the bytes that `reply` makes of their answer.

    All raise `DependencyUnavailable`; those with a `reply` also `IdempotencyKeyInUse` and `IdempotencyKeyReused`.
    """

    def __init__(
        self,
        storage: Storage,
        transactions: Transactions,
        limiter: Limiter,
        rules: LinkRules,
        codes: CodeSource,
        clock: Clock,
    ) -> None:
        self._storage = storage
        self._transactions = transactions
        self._limiter = limiter
        self._rules = rules
        self._codes = codes
        self._clock = clock

    async def create(self, request: CreateLink, caller: Caller, reply: Reply[Link]) -> bytes:
        """Stores a new link. Raises `RateLimited`, `InvalidFields`, `AliasTaken`."""
        if (given := await self._transactions.given_before(reply)) is not None:
            return given
        await charge(self._limiter, LimitClass.CREATE, caller.identity)
        new = self._rules.new_link(request, caller.workspace_id)

        async def change(work: UnitOfWork) -> Change[Link]:
            (outcome,) = await self._add_all(work, [new])
            if isinstance(outcome, WaypostError):
                raise outcome
            return _made(outcome, [outcome], caller)

        return await self._transactions.run(caller.workspace_id, change, reply)

    async def batch_create(
        self, requests: Sequence[CreateLink], caller: Caller, reply: Reply[Sequence[Outcome]]
    ) -> bytes:
        """Stores many new links, each or why not, in order. Raises `RateLimited`, `InvalidFields`."""
        if not 1 <= len(requests) <= MAX_BATCH:
            raise InvalidFields.one("requests", f"has {len(requests):,} links: give 1 to {MAX_BATCH:,} at once")
        if (given := await self._transactions.given_before(reply)) is not None:
            return given
        await charge(self._limiter, LimitClass.CREATE, caller.identity, len(requests))
        checked: list[NewLink | InvalidFields] = []
        breath = Breath()
        for request in requests:
            await breath.taken()
            try:
                checked.append(self._rules.new_link(request, caller.workspace_id))
            except InvalidFields as error:
                checked.append(error)

        async def change(work: UnitOfWork) -> Change[Sequence[Outcome]]:
            added = iter(await self._add_all(work, [new for new in checked if isinstance(new, NewLink)]))
            outcomes = [next(added) if isinstance(new, NewLink) else new for new in checked]
            return _made(outcomes, [outcome for outcome in outcomes if isinstance(outcome, Link)], caller)

        return await self._transactions.run(caller.workspace_id, change, reply)

    async def get(self, short_code: str, caller: Caller) -> Link:
        """The link in whatever state; raises `LinkNotFound`."""
        _require(short_code)
        link = await self._storage.get_link(caller.workspace_id, short_code) if is_code(short_code) else None
        if link is None:
            raise LinkNotFound(short_code)
        return link

    async def page(
        self, caller: Caller, *, filter_text: str, order_by: str, size: int, page_token: str
    ) -> tuple[Sequence[Link], str]:
        """A page of links and the token of the next one, empty after the last. Raises `InvalidFields`."""
        query = list_query(
            caller.workspace_id, filter_text=filter_text, order_by=order_by, size=size, page_token=page_token
        )
        page = await self._storage.list_links(caller.workspace_id, query, self._clock.now())
        if page.next is None:
            return page.links, ""
        return page.links, next_page_token(caller.workspace_id, query, page.next)

    async def update(self, request: UpdateLink, caller: Caller, reply: Reply[Link]) -> bytes:
        """Changes a link. Raises `InvalidFields`, `LinkNotFound`, `LinkGone`, `EtagMismatch`."""
        if (given := await self._transactions.given_before(reply)) is not None:
            return given
        changes = self._rules.changes(request)

        async def change(work: UnitOfWork) -> Change[Link]:
            before = await _lock(work, request.short_code, request.etag)
            if before.deleted_at is not None:
                raise LinkGone(before.short_code, expired=False)
            after = replace(before, **changes)
            if after == before:
                return Change(before)
            link = await work.links.update(before, after)
            return Change(
                link,
                [_event(EventType.LINK_UPDATED, link, caller)],
                [_entry(Action.LINK_UPDATE, link, caller, _changed(before, changes))],
            )

        return await self._transactions.run(caller.workspace_id, change, reply)

    async def delete(self, short_code: str, expected: str, caller: Caller, reply: Reply[Link]) -> bytes:
        """Takes the link out of service; a deleted one stays as it is. Raises `LinkNotFound`, `EtagMismatch`."""
        return await self._set_deleted(short_code, expected, caller, reply, deleted=True)

    async def undelete(self, short_code: str, expected: str, caller: Caller, reply: Reply[Link]) -> bytes:
        """Puts a deleted link back; one that is not deleted stays as it is. Raises `LinkNotFound`, `EtagMismatch`."""
        return await self._set_deleted(short_code, expected, caller, reply, deleted=False)

    async def _set_deleted(
        self, short_code: str, expected: str, caller: Caller, reply: Reply[Link], *, deleted: bool
    ) -> bytes:
        _require(short_code)

        async def change(work: UnitOfWork) -> Change[Link]:
            link = await _lock(work, short_code, expected)
            if (link.deleted_at is not None) is deleted:
                return Change(link)
            link = await work.links.set_deleted(link, deleted=deleted)
            kind = EventType.LINK_DELETED if deleted else EventType.LINK_UPDATED
            action = Action.LINK_DELETE if deleted else Action.LINK_UNDELETE
            return Change(link, [_event(kind, link, caller)], [_entry(action, link, caller)])

        return await self._transactions.run(caller.workspace_id, change, reply)

    async def _add_all(self, work: UnitOfWork, links: Sequence[NewLink]) -> list[Link | AliasTaken]:
        """Stores the links, those without a code under random ones: the stored link or its error, in order."""
        candidates: dict[int, Iterator[str]] = {
            place: self._codes.candidates() for place, link in enumerate(links) if not link.short_code
        }
        outcomes: dict[int, Link | AliasTaken] = {}
        breath = Breath()
        waiting = dict(enumerate(links))
        while waiting:
            for place in waiting.keys() & candidates.keys():
                await breath.taken()
                waiting[place] = replace(waiting[place], short_code=next(candidates[place], "") or _no_code_left())
            # Rivals that take several codes take them in one order, so that none waits for the other in a circle.
            order = sorted(waiting, key=lambda place: waiting[place].short_code.lower())
            for start in range(0, len(order), _CHUNK):
                places = order[start : start + _CHUNK]
                stored = await work.links.add_all([waiting[place] for place in places])
                for place, link in zip(places, stored, strict=True):
                    if link is not None:
                        outcomes[place] = link
                    elif place not in candidates:
                        outcomes[place] = AliasTaken(waiting[place].short_code)
                    else:
                        continue
                    del waiting[place]
        return [outcomes[place] for place in range(len(links))]


async def _lock(work: UnitOfWork, short_code: str, expected: str) -> Link:
    """The link, kept from others' changes; `expected` is its etag or empty. Raises `LinkNotFound`, `EtagMismatch`."""
    link = await work.links.lock(short_code) if is_code(short_code) else None
    if link is None:
        raise LinkNotFound(short_code)
    if expected and expected != etag(link):
        raise EtagMismatch(short_code, etag(link))
    return link


def _made(answer: T, links: Sequence[Link], caller: Caller) -> Change[T]:
    return Change(
        answer,
        [_event(EventType.LINK_CREATED, link, caller) for link in links],
        [_entry(Action.LINK_CREATE, link, caller, {"url": link.destination.url}) for link in links],
    )


def _entry(action: Action, link: Link, caller: Caller, details: Mapping[str, str] | None = None) -> AuditEntry:
    return entry_of(caller.identity, caller.correlation_id, action, link.short_code, details, caller.workspace_id)


def _changed(before: Link, changes: Mapping[str, object]) -> dict[str, str]:
    """What is not as it was, and what it is now, as the audit log has it; "" for what was cleared."""
    return {
        ("url" if name == "destination" else name): _plain(value)
        for name, value in changes.items()
        if value != getattr(before, name)
    }


def _plain(value: object) -> str:
    """A value of a link as the API writes it; tags, which have no commas, by comma."""
    match value:
        case Destination():
            return value.url
        case datetime():
            return value.isoformat()
        case tuple():
            return ",".join(value)
        case bool():
            return "true" if value else "false"
        case _:
            return "" if value is None else str(value)


def _event(kind: EventType, link: Link, caller: Caller) -> LinkEvent:
    return LinkEvent(kind, link, caller.correlation_id)


def _require(short_code: str) -> None:
    if not short_code:
        raise InvalidFields.one("short_code", "must not be empty")


def _no_code_left() -> NoReturn:
    raise RuntimeError("no free short code found")
