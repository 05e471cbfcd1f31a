"""Load on counters in Redis, and the judge of it: what was admitted, what it cost to ask, how soon it was strict again.

Callers ask about one counter until it is spent, then about the next. Each counter's window is years long, so every
admission of it falls into one window: more of them than the limit are false ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from statistics import quantiles

from native.request import Question
from tests.support.redis import RedisServer
from tests.support.redis_counters import DOMAIN, question
from tests.support.waiting import until
from waypost.adapters.redis_counters import RedisCounters
from waypost.errors import StoreUnavailable

DEADLINE = 0.02
"""Seconds: twice the default, since Redis, its callers and the test share a machine here."""
PATIENT = 1.0
"""Seconds, where nothing is to fail."""
LIMIT = 40
CALLERS = 8
PAUSE = 0.001
WINDOW_US = 2**51
"""71 years: this one ends in 2041."""
SLACK = 0.1
"""Seconds that a call may take beyond its deadline where the event loop is not late; where it is, as late as that."""
BACK_SECONDS = 1.0
"""From the moment when Redis answers again to the first strict decision: a third of it where nothing else runs, for a
Redis that has to wait for the machine answers no sooner."""


@dataclass(slots=True)
class Call:
    """One question: when (monotonic seconds) it was asked, how long that took, what came of it."""

    began: float
    seconds: float
    value: str
    outcome: str
    """`admitted`, `refused`, or `failed`."""
    reason: str = ""
    """Why it failed."""

    @property
    def ended(self) -> float:
        """When it was answered."""
        return self.began + self.seconds


@dataclass(slots=True)
class Log:
    """What the callers saw."""

    calls: list[Call] = field(default_factory=list)
    late: float = 0.0
    """The most seconds by which the event loop was late for anything."""

    def outcomes(self) -> Counter[str]:
        """How many calls there were of each outcome."""
        return Counter(call.outcome for call in self.calls)

    def reasons(self) -> Counter[str]:
        """Why calls failed, and how often."""
        return Counter(call.reason for call in self.calls if call.outcome == "failed")

    def between(self, began: float, ended: float) -> list[Call]:
        """The calls that began in this time."""
        return [call for call in self.calls if began <= call.began < ended]

    def first_strict(self, after: float) -> float:
        """Seconds from `after` to the first strict decision that was asked for later."""
        return min(call.ended for call in self.calls if call.began >= after and call.outcome != "failed") - after

    async def strict_after(self, after: float) -> float:
        """Waits for the first strict decision after `after`, and some more; seconds to the first."""
        await until(lambda: sum(call.began >= after and call.outcome != "failed" for call in self.calls) > 50)
        return self.first_strict(after)

    def admitted(self) -> Counter[str]:
        """How often each counter admitted."""
        return Counter(call.value for call in self.calls if call.outcome == "admitted")

    def check_deadlines(self, deadline: float = DEADLINE) -> None:
        """No call took longer than its deadline."""
        slowest = max(call.seconds for call in self.calls)
        assert slowest <= deadline + SLACK + 2 * self.late, f"{slowest:.4f} s, loop late by {self.late:.4f} s"

    def check_admissions(self, losses: int = 0, limit: int = LIMIT) -> None:
        """No counter admitted more than its limit; each loss of all counters gives those in use one limit more."""
        false = {value: count for value, count in self.admitted().items() if count > limit}
        assert len(false) <= losses * CALLERS, false
        assert all(count <= limit * (1 + losses) for count in false.values()), false

    def check_costs_little(self, began: float, ended: float, deadline: float = DEADLINE) -> None:
        """Once it was clear that Redis is away, hardly any call waited for it."""
        seconds = [call.seconds for call in self.between(began, ended)]
        assert len(seconds) > 100
        assert quantiles(seconds, n=100)[94] < deadline / 2 + self.late


def spent_once(value: str) -> Question:
    """The question about one of the counters."""
    return question(value, LIMIT, window_us=WINDOW_US)


@contextlib.asynccontextmanager
async def load(*stores: RedisCounters, callers: int = CALLERS) -> AsyncIterator[Log]:
    """Callers of these stores, evenly, for the time of the block."""
    log, current, loop = Log(), [0], asyncio.get_running_loop()

    async def ask(store: RedisCounters) -> None:
        while True:
            number = current[0]
            began, reason = loop.time(), ""
            try:
                verdict = await store.decide(DOMAIN, [spent_once(str(number))])
                outcome = "admitted" if verdict.admitted else "refused"
            except StoreUnavailable as error:
                outcome, reason = "failed", error.reason
            log.calls.append(Call(began, loop.time() - began, str(number), outcome, reason))
            if outcome == "refused" and current[0] == number:
                current[0] += 1
            await asyncio.sleep(PAUSE)

    async def watch() -> None:
        while True:
            due = loop.time() + 0.002
            await asyncio.sleep(0.002)
            log.late = max(log.late, loop.time() - due)

    tasks = [asyncio.create_task(watch())]
    tasks += [asyncio.create_task(ask(stores[number % len(stores)])) for number in range(callers)]
    try:
        yield log
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results), results
    # The event loop's clock and that of the tests are one.
    assert abs(loop.time() - time.monotonic()) < 1


async def run_for(log: Log, calls: int) -> None:
    """Waits for so many more calls that were answered."""
    before = len(log.calls)
    await until(lambda: sum(call.outcome != "failed" for call in log.calls[before:]) >= calls, 30)


async def all_have_ttl(server: RedisServer) -> int:
    """Checks that each key has a TTL; how many there are."""
    keys = await asyncio.to_thread(server.keys)
    assert all(ttl > 0 for ttl in keys.values()), keys
    return len(keys)
