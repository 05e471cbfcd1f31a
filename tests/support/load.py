"""Steady traffic through Envoy, a log of every attempt as its client saw it, and a judge of that log.

The load is open: attempts begin by the clock, however slow the answers are, so that a stall shows as many late answers
and not as a pause. The judge compares sets, as Jepsen's does: what was acknowledged against what is there in the end.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

import asyncpg
import httpx

from tests.support.credentials import headers_of
from tests.support.mesh import Mesh

TIMEOUT = 12.0
"""Seconds that a client waits: longer than any route of the edge takes."""


class Kind(StrEnum):
    """What is attempted."""

    CREATE = "create"
    REDIRECT = "redirect"


class Outcome(StrEnum):
    """What came of it: done as promised; refused or not answered; answered, and wrongly."""

    DONE = "done"
    FAILED = "failed"
    WRONG = "wrong"


@dataclass(slots=True)
class Attempt:
    """One request. `url` is what a create asks for, which no two share, or where a redirect should lead.

    `began`, `ended`: monotonic seconds; `wall`: seconds since 1970. `status`: 0 without an answer. `short_code`: the
    one asked for, or the one that a create was given. `detail`: why it is not done.
    """

    kind: Kind
    number: int
    url: str
    began: float
    wall: float
    short_code: str = ""
    ended: float = 0.0
    status: int = 0
    outcome: Outcome = Outcome.FAILED
    detail: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Window:
    """The time of a fault, in monotonic seconds."""

    began: float
    ended: float

    def holds(self, attempt: Attempt) -> bool:
        """Whether any part of the attempt lies in it."""
        return attempt.began <= self.ended and attempt.ended >= self.began


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one kind of attempts around one fault; times in seconds.

    `longest_gap`: the longest time between two successes. `recovered_after`: from the beginning of the fault to the
    end of the last attempt that failed; 0 if none did.
    """

    attempted: int
    done: int
    failed_inside: int
    failed_outside: int
    wrong: int
    attempted_inside: int
    longest_gap: float
    recovered_after: float
    slowest: float

    @property
    def error_rate_inside(self) -> float:
        """Failures among the attempts in the fault's window."""
        return self.failed_inside / self.attempted_inside if self.attempted_inside else 0.0

    def __str__(self) -> str:
        return (
            f"{self.done}/{self.attempted} done, failed {self.failed_inside} inside ({self.error_rate_inside:.0%}) and "
            f"{self.failed_outside} outside, wrong {self.wrong}, longest gap {self.longest_gap:.2f} s, recovered after "
            f"{self.recovered_after:.2f} s, slowest {self.slowest:.2f} s"
        )


@dataclass(slots=True)
class ClientLog:
    """Every attempt that has ended, in the order of their ends."""

    attempts: list[Attempt] = field(default_factory=list)

    def of(self, kind: Kind) -> list[Attempt]:
        """The attempts of one kind."""
        return [attempt for attempt in self.attempts if attempt.kind is kind]

    def acknowledged(self) -> dict[str, str]:
        """The links whose making was acknowledged: destination by short code."""
        return {a.short_code: a.url for a in self.attempts if a.kind is Kind.CREATE and a.outcome is Outcome.DONE}

    def failures(self, kind: Kind) -> list[Attempt]:
        """Those that were refused or not answered."""
        return [attempt for attempt in self.of(kind) if attempt.outcome is Outcome.FAILED]

    def wrong(self) -> list[Attempt]:
        """Those that were answered wrongly."""
        return [attempt for attempt in self.attempts if attempt.outcome is Outcome.WRONG]

    def report(self, kind: Kind, window: Window) -> Report:
        """The figures of one kind around a fault."""
        attempts = self.of(kind)
        failed = self.failures(kind)
        inside = [attempt for attempt in failed if window.holds(attempt)]
        ends = sorted(attempt.ended for attempt in attempts if attempt.outcome is Outcome.DONE)
        return Report(
            attempted=len(attempts),
            done=len(ends),
            failed_inside=len(inside),
            failed_outside=len(failed) - len(inside),
            wrong=sum(attempt.outcome is Outcome.WRONG for attempt in attempts),
            attempted_inside=sum(window.holds(attempt) for attempt in attempts),
            longest_gap=max((late - early for early, late in itertools.pairwise(ends)), default=0.0),
            recovered_after=max((a.ended - window.began for a in failed if a.ended > window.began), default=0.0),
            slowest=max((attempt.seconds for attempt in attempts), default=0.0),
        )


class Load:
    """Traffic while it is entered. `creates` and `redirects` are rates, each second; `links`: short codes with their
    destinations, to be redirected from. The same `seed` gives the same sequence.

    Every create brings the operator's key, and is lost if the key cannot be looked up.
    """

    def __init__(
        self,
        mesh: Mesh,
        *,
        creates: float = 0.0,
        redirects: float = 0.0,
        links: Mapping[str, str] | None = None,
        seed: int = 1,
        timeout: float = TIMEOUT,
    ) -> None:
        self.log = ClientLog()
        self._rates = {Kind.CREATE: creates, Kind.REDIRECT: redirects}
        self._links = sorted((links or {}).items())
        self._seed = seed
        self._name = f"{seed}-{time.time_ns():x}"
        self._client = httpx.AsyncClient(
            base_url=mesh.http_url, timeout=timeout, limits=httpx.Limits(max_connections=None), trust_env=False
        )
        self._credentials = headers_of(mesh.operator_key)
        self._clocks: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[Attempt]] = set()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        for kind, rate in self._rates.items():
            if rate:
                self._clocks.append(asyncio.create_task(self._run(kind, rate)))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            await self.end()
        for task in (*self._clocks, *self._running):
            task.cancel()
        await asyncio.gather(*self._clocks, *self._running, return_exceptions=True)
        await self._client.aclose()

    async def end(self) -> None:
        """Begins nothing more and waits for what is under way."""
        for clock in self._clocks:
            clock.cancel()
        await asyncio.gather(*self._clocks, return_exceptions=True)
        self._clocks = []
        await asyncio.gather(*self._running)

    async def more(self, count: int, kind: Kind, outcome: Outcome = Outcome.DONE, seconds: float = 60.0) -> None:
        """Waits until `count` more attempts of this kind, begun from now on, have ended like this."""
        now = time.monotonic()

        def seen() -> int:
            return sum(a.began >= now and a.outcome is outcome for a in self.log.of(kind))

        async with asyncio.timeout(seconds):
            while seen() < count:
                self._news.clear()
                await self._news.wait()

    async def create(self, number: int) -> Attempt:
        """Makes one link, now."""
        url = f"https://example.com/{self._name}/{number}"
        return await self._attempt(Attempt(Kind.CREATE, number, url, time.monotonic(), time.time()))

    async def redirect(self, short_code: str, url: str, number: int = 0) -> Attempt:
        """Follows one link, now."""
        return await self._attempt(Attempt(Kind.REDIRECT, number, url, time.monotonic(), time.time(), short_code))

    async def _run(self, kind: Kind, rate: float) -> None:
        draw = random.Random(f"{self._seed} {kind}")
        due, number = time.monotonic(), 0
        while True:
            number += 1
            due += draw.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if kind is Kind.CREATE:
                task = asyncio.create_task(self.create(number))
            else:
                task = asyncio.create_task(self.redirect(*draw.choice(self._links), number))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _attempt(self, attempt: Attempt) -> Attempt:
        try:
            if attempt.kind is Kind.CREATE:
                answer = await self._client.post(
                    "/api/v1/shorten", json={"url": attempt.url}, headers=self._credentials
                )
            else:
                answer = await self._client.get(f"/{attempt.short_code}")
        except httpx.TransportError as error:
            attempt.detail = f"{type(error).__name__}: {error}"
        else:
            attempt.status = answer.status_code
            _judge_answer(attempt, answer)
        attempt.ended = time.monotonic()
        self.log.attempts.append(attempt)
        self._news.set()
        return attempt


@dataclass(slots=True)
class Verdict:
    """What is not as it was promised; nothing is if `faults` is empty. Values are short sentences."""

    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All of it."""
        return [*self.lost, *self.wrong, *self.duplicate, *self.unexpected]


def judge(log: ClientLog, stored: Iterable[tuple[str, str]], answered: Mapping[str, str | None]) -> Verdict:
    """Compares a client's log with the end.

    `stored`: short code and destination of every row in service; rows that the log knows nothing of are others'.
    `answered`: where each acknowledged code leads by the API, None if nowhere. A create without an answer may have been
    done or not, but not twice.
    """
    rows = list(stored)
    by_code = dict(rows)
    asked = {attempt.url for attempt in log.of(Kind.CREATE)}
    verdict = Verdict()
    for code, url in log.acknowledged().items():
        if code not in by_code:
            verdict.lost.append(f"{code} was acknowledged and is not in the database")
        elif by_code[code] != url:
            verdict.wrong.append(f"{code} is stored with {by_code[code]} instead of {url}")
        if code not in answered:
            verdict.lost.append(f"{code} was acknowledged and nobody asked the API for it")
        elif answered[code] is None:
            verdict.lost.append(f"{code} was acknowledged and the API does not know it")
        elif answered[code] != url:
            verdict.wrong.append(f"{code} leads to {answered[code]} by the API instead of {url}")
    for url, count in Counter(url for _, url in rows if url in asked).items():
        if count > 1:
            verdict.duplicate.append(f"{url} was asked for once and is stored {count} times")
    verdict.unexpected += [f"{a.kind} of {a.short_code or a.url}: {a.detail}" for a in log.wrong()]
    return verdict


async def check(log: ClientLog, mesh: Mesh) -> Verdict:
    """Reads the end through SQL and through the API, and judges the log by it."""
    return judge(log, await stored_links(mesh.owner_dsn()), await answered_links(mesh, log.acknowledged()))


async def stored_links(dsn: str) -> list[tuple[str, str]]:
    """Short code and destination of every link in service, from the database itself."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch("SELECT short_code, original_url FROM links WHERE deleted_at IS NULL")
    finally:
        await connection.close()
    return [(row["short_code"], row["original_url"]) for row in rows]


async def answered_links(mesh: Mesh, codes: Iterable[str]) -> dict[str, str | None]:
    """Where each code leads, as the API says; None if it knows no such link or it is out of service."""
    found: dict[str, str | None] = {}
    slots = asyncio.Semaphore(8)
    headers = headers_of(mesh.operator_key)
    async with httpx.AsyncClient(base_url=mesh.http_url, headers=headers, timeout=TIMEOUT, trust_env=False) as client:

        async def ask(code: str) -> None:
            async with slots:
                answer = await client.get(f"/api/v1/urls/{code}")
            if answer.status_code not in (200, 404):
                answer.raise_for_status()
            link = answer.json() if answer.status_code == 200 else {}
            found[code] = link.get("original_url") if link.get("state") == "LINK_STATE_ACTIVE" else None

        await asyncio.gather(*(ask(code) for code in codes))
    return found


async def make_links(mesh: Mesh, count: int) -> dict[str, str]:
    """Makes links and follows each once, so that they are cached; destination by short code."""
    async with Load(mesh) as load:
        made = [await load.create(number) for number in range(count)]
        assert all(attempt.outcome is Outcome.DONE for attempt in made), made
        followed = [await load.redirect(attempt.short_code, attempt.url) for attempt in made]
        assert all(attempt.outcome is Outcome.DONE for attempt in followed), followed
    return {attempt.short_code: attempt.url for attempt in made}


def _judge_answer(attempt: Attempt, answer: httpx.Response) -> None:
    if answer.status_code >= 500 or answer.status_code == 429:
        attempt.detail = f"{answer.status_code} {answer.text[:500]}"
        return
    attempt.outcome = Outcome.WRONG
    if attempt.kind is Kind.REDIRECT:
        found = answer.headers.get("location", "")
        expected = answer.status_code == 302
    else:
        link = answer.json() if answer.status_code == 200 else {}
        found, attempt.short_code = link.get("original_url", ""), link.get("short_code", "")
        expected = bool(attempt.short_code)
    if expected and found == attempt.url:
        attempt.outcome = Outcome.DONE
    else:
        attempt.detail = f"{answer.status_code} {found or answer.text[:500]} instead of {attempt.url}"
