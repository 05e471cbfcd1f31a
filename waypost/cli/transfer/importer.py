"""Sends the links of a file to a server: in batches, some at a time, each of them once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import grpc
import idna

from waypost.backoff import Backoff
from waypost.cli.transfer.batches import Batch
from waypost.cli.transfer.journal import Counts, Done, Journal
from waypost.cli.transfer.records import Candidate, Problem, readable
from waypost.client import Link, LinkState, NewLink, RemoteError, Unreachable
from waypost.errors import (
    AliasTaken,
    DeadlineExceeded,
    DependencyUnavailable,
    Draining,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidFields,
    LinkNotFound,
    Overloaded,
    RateLimited,
    UnknownMethod,
    WaypostError,
)

T = TypeVar("T")

REMEMBERED_SECONDS = 23 * 3600
"""How long the server surely still knows a request by its id: a day, less an hour for whatever clocks disagree."""

FIRST_PATIENCE = 5.0
"""Seconds for a server that has not answered once."""

LOOKUPS = 8
"""Links that are looked up at a time."""

_TRANSIENT = (Overloaded, Draining, DependencyUnavailable, Unreachable, DeadlineExceeded, IdempotencyKeyInUse)


class LinkServer(Protocol):
    """What an import needs of a server; `waypost.client.Client` has it."""

    async def batch_create(self, links: Iterable[NewLink], *, request_id: str) -> Sequence[Link | WaypostError]:
        """Makes links; one outcome for each, in order."""
        ...

    async def get(self, short_code: str) -> Link:
        """The link with this code. Raises `LinkNotFound`."""
        ...


class Listener(Protocol):
    """Is told how an import goes on."""

    def done(self, counts: Counts) -> None:
        """A batch has ended so."""
        ...

    def waits(self, seconds: float, reason: str) -> None:
        """Nothing more is sent for this long."""
        ...


class Stopped(Exception):
    """The import ended before its file did; what is done is in the journal. `answered`: the server said something."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        self.answered = answered
        super().__init__(reason)


class Interrupted(Exception):
    """Somebody asked for the end; what was under way has been awaited."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at a time, and how patiently: `patience` in seconds, for a server that gives no useful answer."""

    parallel: int = 4
    patience: float = 60.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base=0.2, cap=5.0, floor=0.05))


class Importer:
    """One run of an import.

    A batch whose answer was lost is sent again under the same id and answered as before. Once the server has forgotten
    the id, links are known by their aliases; of those without one nobody can tell, and they are told as failed.
    """

    def __init__(self, server: LinkServer, journal: Journal, listener: Listener, pace: Pace | None = None) -> None:
        self._server = server
        self._journal = journal
        self._listener = listener
        self._pace = pace or Pace()
        self._stopping = asyncio.Event()
        self._turns = {"create": asyncio.Lock(), "get": asyncio.Lock()}
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._began = self._heard = 0.0

    def stop(self) -> None:
        """Sends nothing more; what is under way is awaited, waiting is not."""
        self._stopping.set()

    async def run(self, batches: Iterable[Batch]) -> None:
        """Sends what the journal does not know as done. Raises `Stopped`, `Interrupted`, `JournalError`."""
        self._began = self._heard = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        try:
            for batch in batches:
                if not self._journal.is_done(batch.index):
                    if len(under_way) >= self._pace.parallel:
                        under_way = await _one_ended(under_way)
                    under_way.add(asyncio.create_task(self._import(batch)))
                # Reading goes on without a pause otherwise.
                await asyncio.sleep(0)
                if self._stopping.is_set():
                    raise Interrupted
            while under_way:
                under_way = await _one_ended(under_way)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                for task in under_way:
                    task.cancel()
            self.stop()
            await asyncio.gather(*under_way, return_exceptions=True)
            raise

    async def _import(self, batch: Batch) -> None:
        counts, problems = Counts(), list(batch.problems)
        if sendable := self._sendable(batch, problems):
            outcomes = await self._send(batch, sendable)
            settled = await asyncio.gather(
                *(self._settle(one, got) for one, got in zip(sendable, outcomes, strict=True)), return_exceptions=True
            )
            for candidate, result in zip(sendable, settled, strict=True):
                match result:
                    case Counts():
                        counts += result
                        if result.imported and candidate.tidied:
                            counts += Counts(tidied=1)
                    case Problem():
                        problems.append(result)
                    case BaseException():
                        raise result
        skipped = sum(problem.kind == "skipped" for problem in problems)
        counts += Counts(read=batch.read, skipped=skipped, failed=len(problems) - skipped)
        problems.sort(key=lambda problem: problem.place.number)
        self._journal.done(Done(batch.index, counts, problems))
        self._listener.done(counts)

    def _sendable(self, batch: Batch, problems: list[Problem]) -> list[Candidate]:
        """Those of a batch that may be sent; adds to `problems` the others."""
        sent_at = self._journal.sent_at(batch.index)
        if sent_at is None or time.time() - sent_at < REMEMBERED_SECONDS:
            return batch.candidates
        reason = "it was sent a day ago or longer, and nobody knows any more whether it was made: look for it"
        problems += [_problem(one, reason) for one in batch.candidates if not one.link.alias]
        return [one for one in batch.candidates if one.link.alias]

    async def _send(self, batch: Batch, sendable: list[Candidate]) -> Sequence[Link | WaypostError]:
        links = [one.link for one in sendable]
        request_id = self._journal.request_id(batch.index)
        if len(sendable) < len(batch.candidates):
            request_id += "-named"
        if self._stopping.is_set():
            raise Interrupted
        self._journal.sent(batch.index)
        return await self._until_answered("create", lambda: self._server.batch_create(links, request_id=request_id))

    async def _settle(self, candidate: Candidate, outcome: Link | WaypostError) -> Counts | Problem:
        """What an outcome means. An alias that is taken by the very same link means that it was made before."""
        match outcome:
            case Link():
                return Counts(imported=1)
            case AliasTaken():
                async with self._lookups:
                    return await self._look_up(candidate)
            case InvalidFields():
                return _problem(candidate, "; ".join(f"{_field(v.field)} {v.description}" for v in outcome.violations))
            case _:
                return _problem(candidate, str(outcome))

    async def _look_up(self, candidate: Candidate) -> Counts | Problem:
        alias = candidate.link.alias
        try:
            there = await self._until_answered("get", lambda: self._server.get(alias))
        except LinkNotFound:
            return _problem(candidate, f"the alias {alias!r} is taken by one that differs in upper and lower case only")
        if there.state is LinkState.DELETED:
            return _problem(candidate, f"the alias {alias!r} was that of a link that is deleted")
        if _same(there.original_url, candidate.link.url):
            return Counts(already_there=1)
        return _problem(candidate, f"the alias {alias!r} is taken by a link to {there.original_url}")

    async def _until_answered(self, kind: str, call: Callable[[], Awaitable[T]]) -> T:
        """Makes a call until it is answered; waits as the server asks. Raises `Stopped`, `Interrupted`."""
        # Once a limit is reached, one waits and tries for all: the others would only take each other's place.
        turns = self._turns[kind]
        in_turn = turns.locked()
        attempt = 0
        while True:
            if in_turn:
                await turns.acquire()
            try:
                result = await call()
                self._heard = time.monotonic()
                return result
            except RateLimited as error:
                self._heard = time.monotonic()
                # A refusal that names no time: no wait makes room for so many at once.
                if error.retry_after is None:
                    raise Stopped(_hopeless(error), answered=True) from None
                if in_turn:
                    await self._wait(error.retry_after, f"the server's limit {error.rule!r} is reached")
                limited = True
            except WaypostError as error:
                await self._bear(error, attempt)
                attempt += 1
                limited = False
            finally:
                if in_turn:
                    turns.release()
            in_turn = limited or turns.locked()

    async def _bear(self, error: WaypostError, attempt: int) -> None:
        """Waits before the next try, or raises what makes one pointless."""
        if isinstance(error, LinkNotFound):
            self._heard = time.monotonic()
            raise error
        if not isinstance(error, _TRANSIENT) and not _passes(error):
            raise Stopped(_final(error), answered=True) from error
        # Who never answered is more likely misspelt than ill.
        patience = self._pace.patience if self._heard > self._began else min(self._pace.patience, FIRST_PATIENCE)
        if time.monotonic() - self._heard > patience:
            raise Stopped(str(error), answered=not isinstance(error, (Unreachable, DeadlineExceeded))) from error
        asked: float = getattr(error, "retry_after", None) or 0.0
        # What the transport says of it is long, and the same for all causes.
        reason = f"no Waypost answers at {error.address}" if isinstance(error, Unreachable) else str(error)
        await self._wait(max(asked, self._pace.backoff.delay(attempt)), reason)

    async def _wait(self, seconds: float, reason: str) -> None:
        self._listener.waits(seconds, reason)
        try:
            await asyncio.wait_for(self._stopping.wait(), max(seconds, 0.05))
        except TimeoutError:
            return
        raise Interrupted


async def _one_ended(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Waits until at least one has; raises what it raised. Those that are left."""
    ended, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    # Those that are left must not get lost if one has failed.
    tasks.intersection_update(left)
    errors = [error for task in ended if (error := task.exception())]
    # That the others were interrupted says less than why.
    for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
        raise error
    return left


def _passes(error: WaypostError) -> bool:
    return isinstance(error, RemoteError) and (
        error.retry_after is not None or error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)
    )


def _final(error: WaypostError) -> str:
    match error:
        case IdempotencyKeyReused():
            return "the server knows these links by another content: begin anew with --restart"
        case UnknownMethod():
            return "this server is too old: it cannot make many links at once"
        case _:
            return str(error)


def _hopeless(error: RateLimited) -> str:
    return (
        f"the server's limit {error.rule!r} never admits so many links at once: use a smaller --batch-size (with "
        "--restart), or raise the limit"
    )


def _problem(candidate: Candidate, reason: str) -> Problem:
    link = candidate.link
    return Problem(candidate.place, "failed", link.alias, readable(link.url), readable(reason, 500))


def _field(name: str) -> str:
    return "its URL" if name == "url" else f"its {name}"


def _same(stored: str, given: str) -> bool:
    """Whether two URLs are one, except that a stored host is in its ASCII form."""
    return stored == given or _ascii_host(stored) == _ascii_host(given)


def _ascii_host(url: str) -> str:
    scheme, _, rest = url.partition("://")
    end = next((at for at, char in enumerate(rest) if char in "/?#"), len(rest))
    host, colon, port = rest[:end].partition(":")
    try:
        host = idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        pass
    return f"{scheme.lower()}://{host.lower()}{colon}{port}{rest[end:]}"
