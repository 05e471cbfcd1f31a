"""Counters in Redis, as tests use them: a connected store, questions, the script under a time of the test's own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import redis

from native.limits import Algorithm, Decision, Limit
from native.request import NOWHERE, Elsewhere, Mode, Question, Verdict
from tests.support.waiting import until
from waypost.adapters.redis_counters import RedisCounters
from waypost.adapters.redis_script import SHA, SOURCE, decision_arguments, look_arguments, verdict_of
from waypost.errors import DependencyUnavailable

DOMAIN = "shop"
MINUTE_US = 60_000_000
HOUR_US = 3_600_000_000


def question(
    value: str = "a",
    limit: int = 1_000_000,
    hits: int = 1,
    *,
    algorithm: Algorithm = Algorithm.FIXED_WINDOW,
    window_us: int = HOUR_US,
    burst: int | None = None,
    rule: str = "user",
    descriptor: int = 0,
    mode: Mode = Mode.PLAIN,
) -> Question:
    """A question about a counter of its own for each value."""
    counted = Limit(algorithm, limit, window_us, burst)
    return Question((DOMAIN, rule, str(algorithm), str(window_us)), ("user", value), counted, hits, descriptor, mode)


@contextlib.asynccontextmanager
async def serving(url: str, timeout: float = 1.0, **options: Any) -> AsyncIterator[RedisCounters]:
    """A store that has found its server."""
    async with RedisCounters(url, timeout, **options) as counters:
        await until(lambda: healthy(counters))
        yield counters


async def healthy(counters: RedisCounters) -> bool:
    """Whether its health check passes."""
    try:
        await counters.check()
    except DependencyUnavailable:
        return False
    return True


class Script:
    """The script on a server, as it would have decided at a time that the test says."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        client.script_load(SOURCE)

    def decide(self, questions: Sequence[Question], now_us: int, elsewhere: Elsewhere = NOWHERE) -> Verdict:
        """Decides at `now_us`."""
        return self._run(*decision_arguments(DOMAIN, questions, elsewhere, replay_us=now_us))

    def look(self, questions: Sequence[Question], now_us: int) -> tuple[Decision, ...]:
        """Looks at `now_us`."""
        return self._run(*look_arguments(DOMAIN, questions, replay_us=now_us)).decisions

    def _run(self, keys: list[bytes], argument: bytes) -> Verdict:
        reply: Any = self._client.evalsha(SHA.decode(), len(keys), *keys, argument)
        return verdict_of(reply)
