"""Who is refused most: the top of a stream in fixed memory, without a metric's label for each caller.

Space-Saving (Metwally, Agrawal, El Abbadi 2005): a fixed number of counters; a newcomer takes over the one with the
least, and its count. So a count is never too small, at most too large by what it took over (`error`), and who has more
than the stream's length divided by the number of counters is always among them.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from ratelimiter.handlers import DecisionRecord
from ratelimiter.ruletree import Match
from waypost.masking import masked

COUNTERS = 1000
WINDOW_US = 600_000_000
"""Ten minutes, in two halves: what is shown is of the last five to ten."""
MAX_TEXT = 300
"""Characters of a name; what is longer is cut, and counted as one."""


class SpaceSaving:
    """Counts the most frequent of a stream of texts in `capacity` counters."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        # One item for each text with a count that it had once, the least first; brought up to date when it comes out.
        self._heap: list[tuple[int, int, str]] = []
        self._order = itertools.count()

    def add(self, text: str, hits: int = 1) -> None:
        """Counts `hits` more of a text."""
        if text in self._counts:
            self._counts[text] += hits
            return
        error = 0
        if len(self._counts) == self._capacity:
            least = self._pop_least()
            error = self._counts.pop(least)
            del self._errors[least]
        self._counts[text] = error + hits
        self._errors[text] = error
        heapq.heappush(self._heap, (error + hits, next(self._order), text))

    def _pop_least(self) -> str:
        while True:
            known, order, text = self._heap[0]
            count = self._counts[text]
            if count == known:
                heapq.heappop(self._heap)
                return text
            heapq.heapreplace(self._heap, (count, order, text))

    def counts(self) -> dict[str, tuple[int, int]]:
        """Count and error of each text that has a counter."""
        return {text: (count, self._errors[text]) for text, count in self._counts.items()}


@dataclass(frozen=True, slots=True)
class Offender:
    """One who was refused: at most `count` times, at least `count - error`."""

    name: str
    count: int
    error: int


class Offenders:
    """Those who were refused most in the last minutes; a listener of decisions. `clock_us`: microseconds."""

    def __init__(self, clock_us: Callable[[], int], capacity: int = COUNTERS, window_us: int = WINDOW_US) -> None:
        self._clock_us = clock_us
        self._capacity = capacity
        self._half_us = window_us // 2
        self._half = self._clock_us() // self._half_us
        self._now, self._before = SpaceSaving(capacity), SpaceSaving(capacity)

    def on_decision(self, record: DecisionRecord) -> None:
        """Counts each descriptor that refused."""
        if record.result.allowed:
            return
        for status in record.result.statuses:
            if status.allowed or status.match is None:
                continue
            self.add(status.match, record.request.owner)

    def add(self, match: Match, owner: str = "", hits: int = 1) -> None:
        """Counts a descriptor that refused, perhaps for several that nobody knows by name."""
        texts = match.values[len(match.values) % 2 :]
        pairs = (f"{key}={value}" for key, value in zip(texts[::2], texts[1::2], strict=True))
        workspace = f" workspace={owner}" if owner else ""
        self._turn()
        # Credentials that were sent as values are not kept.
        name = masked(f"{match.rule.place}{workspace}: {', '.join(pairs)}".encode()).decode()
        self._now.add(name[:MAX_TEXT], hits)

    def top(self, most: int = 100) -> list[Offender]:
        """The first of them, the most refused first."""
        self._turn()
        now, before = self._now.counts(), self._before.counts()
        found = []
        for name in now.keys() | before.keys():
            (count, error), (earlier, earlier_error) = now.get(name, (0, 0)), before.get(name, (0, 0))
            found.append(Offender(name, count + earlier, error + earlier_error))
        return heapq.nsmallest(most, found, key=lambda one: (-one.count, one.name))

    def page(self) -> dict[str, object]:
        """For operators, as JSON."""
        return {
            "window_seconds": [self._half_us // 1_000_000, 2 * self._half_us // 1_000_000],
            "offenders": [{"refused": one.name, "count": one.count, "error": one.error} for one in self.top()],
        }

    def _turn(self) -> None:
        half = self._clock_us() // self._half_us
        if half <= self._half:
            return
        self._before = self._now if half == self._half + 1 else SpaceSaving(self._capacity)
        self._now = SpaceSaving(self._capacity)
        self._half = half
