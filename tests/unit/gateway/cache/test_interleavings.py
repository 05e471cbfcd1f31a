"""Whatever happens in whatever order, nobody gets an older link than the one that was told of."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from gateway.cache import CacheMetrics, Mark, RedirectCache
from tests.support.waiting import turn
from tests.unit.gateway.cache.world import Feed, Hold, Store, Time, unheard
from waypost.errors import DependencyUnavailable
from waypost.model import Redirect


class Held(Store):
    """A store that answers only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Hold] = []

    async def read_redirect(self, short_code: str) -> Redirect | None:
        self.held.append(self.hold())
        return await super().read_redirect(short_code)

    def let_go(self, number: int, error: Exception | None = None) -> None:
        """Ends one read."""
        hold = self.held.pop(number % len(self.held))
        hold.error = error
        hold.go.set()


class Interleavings:
    """A cache and a model of what it may answer; each step is something that can happen at any time."""

    CODES = ("one1111", "two2222")
    BOUND = 5.0
    STEPS = {
        "create": 2,
        "create_comes_back": 4,
        "change": 8,
        "tell": 10,
        "heartbeat": 8,
        "lose_line": 1,
        "new_line": 2,
        "look_up": 20,
        "read_ends": 14,
        "read_fails": 3,
        "caller_leaves": 2,
        "time_passes": 4,
    }

    def __init__(self, random: Random) -> None:
        self.random = random
        self.time = Time()
        self.feed = Feed(self.time)
        self.feed.stop()
        self.store = Held()
        self.cache = RedirectCache(
            self.store,
            self.feed,
            CacheMetrics(CollectorRegistry()),
            max_bytes=1_000_000,
            max_stale=self.BOUND,
            monotonic=self.time,
        )
        # When each version was committed; versions are told by notifications, in order, unless the line is cut.
        self.commits: dict[str, list[float]] = {code: [] for code in self.CODES}
        self.told = dict.fromkeys(self.CODES, 0)
        self.known = dict.fromkeys(self.CODES, 0)
        self.line: list[tuple[str, int]] = []
        self.cut = False
        self.writes: list[tuple[Redirect, Mark]] = []
        self.running: list[tuple[str, int, int, asyncio.Task[Redirect | None]]] = []
        self.steps: list[str] = []

    async def run(self, number: int) -> None:
        """Takes steps, then lets everything come to its end."""
        self.commit(self.CODES[0])
        names, weights = list(self.STEPS), list(self.STEPS.values())
        for step in self.random.choices(names, weights, k=number):
            self.steps.append(step)
            await getattr(self, step)()
            await self.check()
        while self.store.held:
            await self.read_ends()
            await self.check()
        assert self.running == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def code(self) -> str:
        """One of the codes."""
        code = self.random.choice(self.CODES)
        self.steps[-1] += f" {code}"
        return code

    def commit(self, code: str) -> Redirect:
        """A new version of a link."""
        self.commits[code].append(self.time.now)
        return self.store.write(len(self.commits[code]), code)

    async def create(self) -> None:
        """Commits, but the process hears of it only later; creates are told nobody."""
        code = self.code()
        if not self.commits[code]:
            since = self.cache.mark()
            self.writes.append((self.commit(code), since))

    async def create_comes_back(self) -> None:
        if self.writes:
            link, since = self.writes.pop(0)
            self.cache.put(link, since)
            self.told[link.short_code] = max(self.told[link.short_code], 1)

    async def change(self) -> None:
        code = self.code()
        if self.commits[code]:
            version = self.commit(code).version
            if not self.cut:
                self.line.append((code, version))

    async def tell(self) -> None:
        if self.line:
            code, version = self.line.pop(0)
            self.cache.invalidate(code, version)
            self.told[code] = max(self.told[code], version)

    async def heartbeat(self) -> None:
        """Comes after everything that was told before it."""
        while self.line:
            await self.tell()
        if not self.cut:
            self.feed.stop()

    async def lose_line(self) -> None:
        self.cut = True
        self.line.clear()

    async def new_line(self) -> None:
        """The epoch rises: who can ask now must ask."""
        if self.cut:
            self.cut = False
            self.feed.epoch += 1
            self.known = {code: len(times) for code, times in self.commits.items()}

    async def look_up(self) -> None:
        code = self.code()
        told, floor = self.told[code], max(self.told[code], self.known[code])
        task = asyncio.create_task(self.cache.lookup(code))
        await asyncio.sleep(0)
        if task.done():
            # Answered from memory: nothing in there may be older than a second. That there is no link, a gap leaves.
            floor = told if task.result() is None else floor
            floor = max(floor, sum(at < self.time.now - 1.0 for at in self.commits[code]))
        self.running.append((code, told, floor, task))

    async def read_ends(self) -> None:
        if self.store.held:
            self.store.let_go(self.random.randrange(len(self.store.held)))

    async def read_fails(self) -> None:
        if not self.store.held:
            return
        self.store.let_go(self.random.randrange(len(self.store.held)), DependencyUnavailable("postgres"))
        for code, version in await self.check(answered=False):
            ended = self.commits[code][version] if version < len(self.commits[code]) else None
            assert ended is None or ended >= self.time.now - self.BOUND, f"stale for too long: {self.steps}"

    async def caller_leaves(self) -> None:
        if self.running:
            *_, task = self.running.pop(self.random.randrange(len(self.running)))
            task.cancel()

    async def time_passes(self) -> None:
        self.time.now += self.random.choice([0.1, 0.5, 1.0, 3.0])

    async def check(self, answered: bool = True) -> list[tuple[str, int]]:
        """Looks at the look-ups that are done; returns what those gave that did not fail.

        Not `answered`: by the store. Then what was missed in a gap cannot be known, but what was told is.
        """
        await turn()
        answers = []
        for one in [one for one in self.running if one[-1].done()]:
            self.running.remove(one)
            code, told, floor, task = one
            least = floor if answered else told
            if task.exception() is None:
                found = task.result()
                version = found.version if found is not None else 0
                assert version >= least, f"{code}: {version} after {least} was told: {self.steps}"
                answers.append((code, version))
            else:
                assert isinstance(task.exception(), DependencyUnavailable)
        return answers


@pytest.mark.parametrize("seed", range(20))
async def test_look_up_that_begins_after_a_change_was_told_never_gives_an_older_version(seed: int) -> None:
    """Whatever happens in whatever order; a seed that fails gives its steps."""

    async def work() -> None:
        random = Random(seed)
        for _ in range(5):
            await Interleavings(random).run(200)

    assert await unheard(work()) == []
