"""Use cases of the limiter: may this request be served now, and why; and what operators do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from native import Table
from native.request import Elsewhere, Mode, Question, Verdict, admits, is_admitted
from ratelimiter.asking import Asked, NoOverrides, Overrides, ask, match_all
from ratelimiter.fallback import without_store
from ratelimiter.mixed import LocalPart, joined
from ratelimiter.outlook import Outlook, from_look, to_look
from ratelimiter.requests import MAX_BATCH, MAX_VIOLATIONS, LimitRequest, validate, violations
from ratelimiter.results import CheckResult, result
from ratelimiter.rulebook import RuleBook
from ratelimiter.ruletree import Match
from waypost.errors import DependencyUnavailable, FieldViolation, InvalidFields, StoreUnavailable
from waypost.ports import CounterStore

AT_ONCE = 32
"""So many descriptors of a batch are decided, or sent to the store, before others get a turn; or one request's."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What was asked and answered, for listeners."""

    request: LimitRequest
    result: CheckResult


Listener = Callable[[DecisionRecord], None]


class Checker:
    """Decides on requests by the rules in `book`: local limits in `table`, strict ones in `store`.

    Without a store strict limits are in `table` too. `clock_us` gives microseconds since the epoch; the store
    has its own time. `shadow_mode`: nothing is refused.
    """

    def __init__(
        self,
        book: RuleBook,
        table: Table,
        clock_us: Callable[[], int],
        store: CounterStore | None = None,
        overrides: Overrides | None = None,
        *,
        shadow_mode: bool = False,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._book = book
        self._table = table
        self._clock_us = clock_us
        self._store = store
        self._overrides = overrides or NoOverrides()
        self._shadow_mode = shadow_mode
        self._listeners = tuple(listeners)

    async def check(self, request: LimitRequest) -> CheckResult:
        """Counts a request and says whether it is within its limits. Raises `InvalidFields`.

        One request is one decision: `native.request` says what it is, and what it charges.
        """
        validate(request)
        return await self._decide(request, *self._ask(request))

    async def check_without_store(self, request: LimitRequest) -> CheckResult:
        """`check` of a request for which the store has been asked, and has not answered."""
        validate(request)
        return await self._decide(request, *self._ask(request), away=True)

    async def check_all(self, requests: Sequence[LimitRequest]) -> list[CheckResult]:
        """Checks one request after the other. Raises `InvalidFields` if any is bad, and then counts none."""
        await _validate_all(requests)
        results: list[CheckResult] = []
        for part in in_turns(requests):
            results += await self._check_some(part)
            await asyncio.sleep(0)
        return results

    async def look(self, request: LimitRequest) -> Outlook:
        """What `check` would answer; counts nothing. Raises `InvalidFields`, `DependencyUnavailable` for the store."""
        validate(request)
        rules, generation = self._book.rules, self._book.generation
        matches, asked = self._ask(request)
        here, there = _split(asked)
        looks = [to_look(one.question) for one in asked]
        local = [looks[index] for index in here]
        decisions = joined(len(asked), here, self._table.look(local, self._clock_us()))
        if there:
            strict = [looks[index] for index in there]
            try:
                looked = await self._shared.look(request.domain, strict)
            except StoreUnavailable:
                raise DependencyUnavailable("redis") from None
            decisions = joined(len(asked), there, looked, decisions)
        decisions = [from_look(one.question, decision) for one, decision in zip(asked, decisions, strict=True)]
        questions = [one.question for one in asked]
        allowed = is_admitted(questions, admits(questions, decisions))
        return Outlook(allowed, tuple(matches), tuple(asked), tuple(decisions), rules, generation)

    async def reset(self, request: LimitRequest) -> int:
        """Forgets the counters of a request's descriptors; how many there were.

        Raises `InvalidFields`, and `DependencyUnavailable` when the store does not answer: then only those here are.
        """
        validate(request)
        _, asked = self._ask(request)
        counters = {(one.question.rule, one.question.values): one for one in asked}
        # Of strict ones there may be a counter from when the store was away.
        found = {counter: self._table.reset(*counter) for counter in counters}
        forgotten = sum(found[counter] for counter, one in counters.items() if not one.strict)
        strict = [one.question for one in counters.values() if one.strict]
        if strict:
            try:
                forgotten += await self._shared.reset(request.domain, strict)
            except StoreUnavailable:
                raise DependencyUnavailable("redis") from None
        return forgotten

    async def _decide(
        self, request: LimitRequest, matches: Sequence[Match | None], asked: Sequence[Asked], *, away: bool = False
    ) -> CheckResult:
        if any(one.strict for one in asked):
            checked = await self._check_shared(request, matches, asked, away=away)
        else:
            verdict = self._table.decide([one.question for one in asked], self._clock_us())
            checked = result(matches, asked, verdict.decisions, verdict.admitted, degraded=False)
        record = DecisionRecord(request, checked)
        for listener in self._listeners:
            listener(record)
        return checked

    async def _check_some(self, requests: Sequence[LimitRequest]) -> list[CheckResult]:
        asked = [self._ask(request) for request in requests]
        if len(requests) > 1 and all(one.strict for _, questions in asked for one in questions):
            # The store decides in the order in which it is asked, and nothing here depends on it.
            return await asyncio.gather(
                *(self._decide(request, *one) for request, one in zip(requests, asked, strict=True))
            )
        return [await self._decide(request, *one) for request, one in zip(requests, asked, strict=True)]

    def _ask(self, request: LimitRequest) -> tuple[list[Match | None], list[Asked]]:
        matches = match_all(self._book.rules, self._overrides, request)
        return matches, ask(matches, request, shared=self._store is not None, shadow_mode=self._shadow_mode)

    @property
    def _shared(self) -> CounterStore:
        if self._store is None:
            raise RuntimeError("there is no store, so nothing is asked of it")
        return self._store

    async def _check_shared(
        self, request: LimitRequest, matches: Sequence[Match | None], asked: Sequence[Asked], *, away: bool
    ) -> CheckResult:
        here, there = _split(asked)
        local = LocalPart(self._table, self._clock_us, [asked[index].question for index in here])
        strict = [asked[index] for index in there]
        # Charged before the store is asked, so that nobody else is admitted on the same.
        told = local.charge(quota_elsewhere=any(one.question.mode & Mode.QUOTA for one in strict))
        verdict = None if away else await self._verdict(request.domain, [one.question for one in strict], told)
        degraded = verdict is None
        if verdict is None:
            verdict = without_store(
                strict, told, lambda questions, others: self._table.decide(questions, self._clock_us(), others)
            )
        decisions = joined(len(asked), here, local.settle(admitted=verdict.admitted))
        decisions = joined(len(asked), there, verdict.decisions, decisions)
        return result(matches, asked, decisions, verdict.admitted, degraded)

    async def _verdict(self, domain: str, questions: Sequence[Question], told: Elsewhere) -> Verdict | None:
        try:
            return await self._shared.decide(domain, questions, told)
        except StoreUnavailable:
            return None


class _Described(Protocol):
    """A request, however it is written."""

    @property
    def descriptors(self) -> Sized: ...


D = TypeVar("D", bound=_Described)


def in_turns(requests: Iterable[D]) -> Iterator[list[D]]:
    """The requests in parts of `AT_ONCE` descriptors, or of one request that has more."""
    part: list[D] = []
    size = 0
    for request in requests:
        more = max(1, len(request.descriptors))
        if part and size + more > AT_ONCE:
            yield part
            part, size = [], 0
        part.append(request)
        size += more
    if part:
        yield part


async def _validate_all(requests: Sequence[LimitRequest]) -> None:
    """Raises `InvalidFields` with what is wrong with any of them; fields are named `requests[3].domain`."""
    if not requests:
        raise InvalidFields.one("requests", "must not be empty")
    if len(requests) > MAX_BATCH:
        raise InvalidFields.one("requests", f"must be at most {MAX_BATCH:,}: give fewer at once")
    found: list[FieldViolation] = []
    numbered = enumerate(requests)
    for part in in_turns(requests):
        for index, request in islice(numbered, len(part)):
            found += islice(violations(request, f"requests[{index}]."), MAX_VIOLATIONS - len(found))
        await asyncio.sleep(0)
    if found:
        raise InvalidFields(found)


def _split(asked: Sequence[Asked]) -> tuple[list[int], list[int]]:
    """Which of them are decided here, and which by the store."""
    return [i for i, one in enumerate(asked) if not one.strict], [i for i, one in enumerate(asked) if one.strict]
