"""The store that all replicas share, in memory: tables and a clock of its own; it can be told to fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from native.limits import Decision
from native.request import NOWHERE, Elsewhere, Question, Verdict
from native.table import Table
from waypost.errors import DependencyUnavailable, StoreUnavailable


async def _at_once() -> None:
    """Answers at once."""


class MemoryCounterStore:
    """A `waypost.ports.CounterStore`. Counters are apart by domain, as each domain's live on one node of a cluster.

    `fails`: whether it is away. `before_answer` is awaited when a decision is made and not told yet.
    """

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._tables: dict[str, Table] = {}
        self.fails = False
        self.before_answer: Callable[[], Awaitable[None]] = _at_once
        self.asked: list[tuple[str, tuple[Question, ...], Elsewhere]] = []
        """The decisions that it was asked for."""

    async def decide(self, domain: str, questions: Sequence[Question], elsewhere: Elsewhere = NOWHERE) -> Verdict:
        """Decides as the table does."""
        self.asked.append((domain, tuple(questions), elsewhere))
        self._answer()
        verdict = self._table(domain).decide(questions, self._clock_us(), elsewhere)
        await self.before_answer()
        return verdict

    async def look(self, domain: str, questions: Sequence[Question]) -> tuple[Decision, ...]:
        """Looks as the table does."""
        self._answer()
        return self._table(domain).look(questions, self._clock_us())

    async def reset(self, domain: str, questions: Sequence[Question]) -> int:
        """Forgets as the table does."""
        self._answer()
        counters = {(question.rule, question.values) for question in questions}
        return sum(self._table(domain).reset(*counter) for counter in counters)

    async def check(self) -> None:
        """Fails when it is told to."""
        if self.fails:
            raise DependencyUnavailable("redis")

    def _answer(self) -> None:
        if self.fails:
            raise StoreUnavailable("told to fail")

    def _table(self, domain: str) -> Table:
        return self._tables.setdefault(domain, Table())
