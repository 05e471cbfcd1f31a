"""Use cases of the limiter: may this request be served now?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from native.limits import Decision, Limit, look, spend, take
from native.table import CounterKey, Table
from ratelimiter.rules import Rules
from ratelimiter.ruletree import MAX_DOMAIN_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Match, Rule
from waypost.errors import FieldViolation, InvalidFields
from waypost.model import LimitEntry

MAX_DESCRIPTORS = 100
MAX_ENTRIES = 32
MAX_VIOLATIONS = 20
"""So many bad fields are reported at most: a status travels in trailers, whose size is limited."""

UNLIMITED = 2**32 - 1
"""`remaining` of a descriptor whose rule is unlimited, as in Envoy's protocol."""


@dataclass(frozen=True, slots=True)
class DescriptorStatus:
    """What became of one descriptor; all zero and empty when no rule matched it."""

    allowed: bool
    """Whether it admits the request by itself; always true in shadow mode."""
    rule: str = ""
    limit: int = 0
    window_us: int = 0
    remaining: int = 0
    reset_after_us: int = 0
    over_limit: bool = False
    """Whether the limit is exceeded, in shadow mode too."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The decision on a request and a status for each of its descriptors, in their order."""

    allowed: bool
    statuses: tuple[DescriptorStatus, ...]
    retry_after_us: int | None = None
    """In a refusal, until the same request is admitted if nobody else spends. None: admitted now, or no wait helps."""


@dataclass(slots=True)
class _Question:
    """One descriptor's limit, its counter, and how it decides on the request."""

    rule: Rule
    limit: Limit
    key: CounterKey
    decision: Decision

    @property
    def refuses(self) -> bool:
        return not (self.decision.allowed or self.rule.shadow_mode)


class Checker:
    """Decides on requests by `rules` with counters in `table`; `clock_us` gives microseconds since the epoch.

    `rules` may be replaced at any time; counters stay.
    """

    def __init__(self, rules: Rules, table: Table, clock_us: Callable[[], int]) -> None:
        self.rules = rules
        self._table = table
        self._clock_us = clock_us

    def check(
        self, domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int = 1, owner: str = ""
    ) -> CheckResult:
        """Counts a request of `hits` and says whether it is within its limits. Raises `InvalidFields`.

        One request is one decision. It is admitted if every descriptor admits it (of quota rules: if any does), and
        then charges those that admit it; a refused request charges nothing. Each `owner` has counters of their own.
        """
        violations = list(islice(_violations(domain, descriptors, hits), MAX_VIOLATIONS))
        if violations:
            raise InvalidFields(violations)

        now_us = self._clock_us()
        matches = self._matches(domain, descriptors)
        questions = self._ask(matches, hits, owner, now_us)
        refusing = [q for q in questions if q is not None and q.refuses]
        enforced = [q.decision for q in refusing if not q.rule.quota_mode]
        quotas = [q.decision for q in refusing if q.rule.quota_mode]
        if len(quotas) < sum(q is not None and q.rule.quota_mode for q in questions):
            quotas = []
        allowed = not (enforced or quotas)
        if allowed:
            self._charge(questions, hits, now_us)
        return CheckResult(
            allowed,
            tuple(map(_status, matches, questions)),
            None if allowed else _retry_after(enforced, quotas),
        )

    def _matches(self, domain: str, descriptors: Sequence[Sequence[LimitEntry]]) -> list[Match | None]:
        """The rule for each descriptor; None where there is none or another one replaces it."""
        rules = self.rules
        matches = [rules.match(domain, entries) for entries in descriptors]
        replaced = {name for match in matches if match is not None for name in match.rule.replaces}
        return [
            None if match is not None and match.rule.limit is not None and match.rule.name in replaced else match
            for match in matches
        ]

    def _ask(self, matches: Sequence[Match | None], hits: int, owner: str, now_us: int) -> list[_Question | None]:
        """Looks at each counter without spending. Descriptors that share one see what those before them would take."""
        reserved: dict[CounterKey, int] = {}
        questions: list[_Question | None] = []
        for match in matches:
            if match is None or match.rule.limit is None:
                questions.append(None)
                continue
            limit = match.rule.limit
            # Lengths are hashed, too: no values of one owner are those of another.
            key = self._table.key(match.rule.identity, (*match.values, owner) if owner else match.values)
            taken = reserved.get(key, 0)
            decision = look(limit, self._table.find(key, now_us), taken + hits, now_us)
            if decision.allowed:
                reserved[key] = taken + hits
            questions.append(_Question(match.rule, limit, key, decision))
        return questions

    def _charge(self, questions: Sequence[_Question | None], hits: int, now_us: int) -> None:
        """Spends where the limit admits, and notes what is left then."""
        for question in questions:
            if question is not None and question.decision.allowed:
                state = self._table.keep(question.key, question.limit, now_us)
                spent = spend(question.limit, state, hits, now_us)
                if spent.allowed:
                    question.decision = spent
                else:
                    # Other counters of this very request have taken room in the table or in the overflow counter since
                    # the look. The request is admitted, so it is accounted for all the same.
                    take(question.limit, state, hits, now_us)


def _retry_after(enforced: Sequence[Decision], quotas: Sequence[Decision]) -> int | None:
    """When all of `enforced` admit and, if there are any, one of `quotas` does."""
    waits = [decision.retry_after_us for decision in enforced]
    if quotas:
        waits.append(min((d.retry_after_us for d in quotas if d.retry_after_us is not None), default=None))
    known = [wait for wait in waits if wait is not None]
    return max(known) if len(known) == len(waits) else None


def _status(match: Match | None, question: _Question | None) -> DescriptorStatus:
    if match is None:
        return DescriptorStatus(allowed=True)
    if question is None:
        return DescriptorStatus(allowed=True, rule=match.rule.place, remaining=UNLIMITED)
    decision = question.decision
    return DescriptorStatus(
        allowed=not question.refuses,
        rule=question.rule.place,
        limit=question.limit.limit,
        window_us=question.limit.window_us,
        remaining=decision.remaining,
        reset_after_us=decision.reset_after_us,
        over_limit=not decision.allowed,
    )


def _violations(domain: str, descriptors: Sequence[Sequence[LimitEntry]], hits: int) -> Iterator[FieldViolation]:
    if not domain:
        yield FieldViolation("domain", "rate limit domain must not be empty")
    elif len(domain.encode()) > MAX_DOMAIN_BYTES:
        yield FieldViolation("domain", f"must be at most {MAX_DOMAIN_BYTES} bytes")
    if hits < 0:
        yield FieldViolation("hits_addend", "must not be negative")
    if not descriptors:
        yield FieldViolation("descriptors", "rate limit descriptor list must not be empty")
    elif len(descriptors) > MAX_DESCRIPTORS:
        yield FieldViolation("descriptors", f"must be at most {MAX_DESCRIPTORS}")
        return
    for index, entries in enumerate(descriptors):
        place = f"descriptors[{index}].entries"
        if not entries:
            yield FieldViolation(place, "must not be empty")
        elif len(entries) > MAX_ENTRIES:
            yield FieldViolation(place, f"must be at most {MAX_ENTRIES}")
            continue
        for position, entry in enumerate(entries):
            if not entry.key:
                yield FieldViolation(f"{place}[{position}].key", "must not be empty")
            elif len(entry.key.encode()) > MAX_KEY_BYTES:
                yield FieldViolation(f"{place}[{position}].key", f"must be at most {MAX_KEY_BYTES} bytes")
            if len(entry.value.encode()) > MAX_VALUE_BYTES:
                yield FieldViolation(f"{place}[{position}].value", f"must be at most {MAX_VALUE_BYTES} bytes")
