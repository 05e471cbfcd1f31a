"""Rate limit counters that all replicas share, in Redis: one script decides on a request, by Redis' own time.

Redis 7 or later. A domain's counters live on one node of a cluster, so one node's capacity is the most that a domain
can have. Counters may be lost with their server (a restart without persistence, a failover before the last charges were
copied): then each has its limit once more. Give Redis `maxmemory-policy noeviction` or `volatile-ttl`: with the former
a full Redis refuses charges, which is told as `StoreUnavailable`; with the latter it forgets what ends soonest, and
with others what limits are still held by.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from redis.exceptions import AskError, MovedError, ResponseError

from native.limits import Algorithm, Decision, Limit
from native.request import NOWHERE, Elsewhere, Question, Verdict, is_admitted
from waypost.adapters.redis_keys import key_beginning
from waypost.adapters.redis_link import Link, script_words
from waypost.adapters.redis_script import NOTHING, decision_arguments, look_arguments, verdict_of
from waypost.adapters.redis_servers import servers_at
from waypost.adapters.redis_url import parse_redis_url
from waypost.errors import DependencyUnavailable, StoreUnavailable

TIMEOUT = 0.01
"""Seconds; Envoy itself waits 20 milliseconds."""
CONNECT_TIMEOUT = 0.15
"""Seconds for a new connection, with handshakes; also how often one is tried for where a server swallows everything."""
CAPACITY = 4096
"""Most calls that wait for one server."""
HOPS = 5
"""Most servers that a call is sent on to."""

PROBE_DOMAIN = "waypost-health"
PROBE = Question(("health",), ("probe",), Limit(Algorithm.FIXED_WINDOW, 2**32 - 1, 1_000_000), 1)
"""What a health check asks; its counter lasts two seconds."""


class RedisUnusable(DependencyUnavailable):
    """What a health check finds; its text, for operators, says what is wrong with Redis."""

    def __init__(self, reason: str) -> None:
        super().__init__("redis")
        self.reason = reason

    def __str__(self) -> str:
        return f"redis cannot be used: {self.reason}"


class RedisCounters:
    """A `waypost.ports.CounterStore`; to be entered as a context, which connects in the background and never fails.

    `timeout` in seconds is each call's deadline, whatever happens. Raises `ValueError` for a bad URL.
    """

    def __init__(
        self,
        url: str,
        timeout: float = TIMEOUT,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        capacity: int = CAPACITY,
    ) -> None:
        self._timeout = timeout
        self.doubts = 0
        """Calls that were sent and never answered: they may have been charged."""
        make_link = partial(
            Link, connect_timeout=connect_timeout, call_timeout=timeout, capacity=capacity, on_doubts=self._doubt
        )
        self._servers = servers_at(parse_redis_url(url), make_link, connect_timeout)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._servers.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            # Lets the transports say goodbye.
            await asyncio.sleep(0)

    async def decide(self, domain: str, questions: Sequence[Question], elsewhere: Elsewhere = NOWHERE) -> Verdict:
        """Decides on a request and charges what it has to: `native.request.decide`, by the store's own time."""
        if not questions:
            return Verdict(is_admitted((), {}, elsewhere), ())
        return verdict_of(await self._ask(domain, script_words(*decision_arguments(domain, questions, elsewhere))))

    async def run_script(self, domain: str, keys: Sequence[bytes], argument: bytes) -> Any:
        """`decide` of what `redis_script.decision_arguments` gives: the script's reply."""
        return await self._ask(domain, script_words(keys, argument))

    def key_beginning(self, domain: str, rule: tuple[str, ...]) -> tuple[bytes, int]:
        """How the keys of a rule's counters begin, and how many bytes of values they have room for."""
        return key_beginning(domain, rule)

    async def look(self, domain: str, questions: Sequence[Question]) -> tuple[Decision, ...]:
        """What each question by itself would be answered; charges nothing."""
        if not questions:
            return ()
        return verdict_of(await self._ask(domain, script_words(*look_arguments(domain, questions)))).decisions

    async def reset(self, domain: str, questions: Sequence[Question]) -> int:
        """Forgets the questions' counters; how many there were."""
        if not questions:
            return 0
        keys, _ = decision_arguments(domain, questions)
        deleted = await self._ask(domain, (b"DEL", *keys), script=False)
        return int(deleted)

    async def check(self) -> None:
        """A health check: raises `RedisUnusable` when a server does not answer, or cannot decide."""
        seconds = 10 * self._timeout
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            replies = await asyncio.gather(*(link.decide((), NOTHING, deadline) for link in self._servers.links()))
            # With a key: only then a cluster says that it is down, or a user that it may not read or write.
            words = script_words(*decision_arguments(PROBE_DOMAIN, [PROBE]))
            await self._ask(PROBE_DOMAIN, words, seconds=seconds)
        except StoreUnavailable as error:
            raise RedisUnusable(error.reason) from error
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise RedisUnusable(f"{type(reply).__name__}: {reply}") from reply

    def _doubt(self, calls: int) -> None:
        self.doubts += calls

    async def _ask(
        self, domain: str, words: tuple[Any, ...], *, script: bool = True, seconds: float | None = None
    ) -> Any:
        """The answer of the server that has the domain, which may name another one."""
        deadline = asyncio.get_running_loop().time() + (self._timeout if seconds is None else seconds)
        link, asking = self._servers.link(domain), False
        for _ in range(HOPS):
            answer = await link.call(words, deadline, script=script, asking=asking)
            if not isinstance(answer, ResponseError):
                return answer
            # Whoever names another server has done nothing itself.
            named = self._servers.redirected(answer) if isinstance(answer, AskError) else None
            if named is None:
                raise StoreUnavailable(f"{type(answer).__name__}: {answer}") from answer
            link, asking = named, not isinstance(answer, MovedError)
        raise StoreUnavailable("sent from one node of the cluster to the next")
