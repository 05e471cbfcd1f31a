"""Local limits of a request that meets strict ones too: charged first, settled when the store has spoken.

So nobody else is admitted meanwhile on the same hits, and a request that the store refuses costs nothing here. What
others did in between stands: nobody is given back more than what is still there of the request's own hits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from native import Table
from native.limits import Algorithm, Decision
from native.request import NOWHERE, Elsewhere, Mode, Question, Verdict, admits
from ratelimiter.fallback import elsewhere


class LocalPart:
    """The local `questions` of one request."""

    def __init__(self, table: Table, clock_us: Callable[[], int], questions: Sequence[Question]) -> None:
        self._table = table
        self._clock_us = clock_us
        self._count = len(questions)
        # Hits that are given back wait for the outcome: what came of it could not be undone.
        later = [q.hits < 0 and not q.mode & Mode.REFERENCE for q in questions]
        self._places = [index for index, waits in enumerate(later) if not waits]
        self._later_places = [index for index, waits in enumerate(later) if waits]
        self._charged = [questions[index] for index in self._places]
        self._later = [questions[index] for index in self._later_places]
        self._charged_us = 0
        self._verdict = Verdict(True, ())

    def charge(self, *, quota_elsewhere: bool) -> Elsewhere:
        """Decides and charges; what the store is told of it. `quota_elsewhere`: another quota may yet admit."""
        if not self._count:
            return NOWHERE
        self._charged_us = self._clock_us()
        quotas = quota_elsewhere or any(question.mode & Mode.QUOTA for question in self._later)
        self._verdict = self._table.decide(self._charged, self._charged_us, Elsewhere(quotas=int(quotas)))
        waiting = Verdict(True, self._looked(self._charged_us))
        return elsewhere(self._later, waiting, elsewhere(self._charged, self._verdict))

    def settle(self, *, admitted: bool) -> Sequence[Decision]:
        """Gives back what a request was charged that is refused, or what an admitted one gives back; the decisions."""
        if not self._count:
            return ()
        now_us = self._clock_us()
        decisions = self._verdict.decisions
        if admitted:
            self._table.take(self._later, now_us)
        elif self._verdict.admitted:
            seen = self._table.look(self._charged, now_us)
            self._table.take(refunds(self._charged, self._verdict, seen, self._charged_us, now_us), now_us)
            after = self._table.look(self._charged, now_us)
            # What refused by itself was not charged, and stands.
            decisions = tuple(
                new._replace(allowed=True) if old.allowed else old for new, old in zip(after, decisions, strict=True)
            )
        settled = joined(self._count, self._places, decisions)
        return joined(self._count, self._later_places, self._looked(now_us), settled)

    def _looked(self, now_us: int) -> tuple[Decision, ...]:
        looked = self._table.look(self._later, now_us) if self._later else ()
        return tuple(decision._replace(allowed=True, retry_after_us=0) for decision in looked)


@dataclass(slots=True)
class _Charge:
    """What a request took from one counter."""

    question: Question
    hits: int
    after: Decision
    """As it was then, with these hits and whatever was counted before."""
    seen: Decision
    """As it is now, with what others did in between."""


def refunds(
    questions: Sequence[Question], verdict: Verdict, seen: Sequence[Decision], charged_us: int, now_us: int
) -> list[Question]:
    """What to take from the counters of an admitted request charged at `charged_us`: questions of negative hits.

    `seen` is a look at each of them now. Hits that count in any case stay.
    """
    admitting = admits(questions, verdict.decisions)
    charges: dict[tuple[tuple[str, ...], tuple[str, ...]], _Charge] = {}
    for question, after, now in zip(questions, verdict.decisions, seen, strict=True):
        if not admitting[question.descriptor] or question.mode & (Mode.REFERENCE | Mode.COUNT_REJECTED):
            continue
        counter = (question.rule, question.values)
        hits = question.hits + (charges[counter].hits if counter in charges else 0)
        charges[counter] = _Charge(question, hits, after, now)
    found = []
    for charge in charges.values():
        left = _left(charge, charged_us, now_us)
        if left > 0:
            found.append(charge.question._replace(hits=-left))
    return found


def _left(charge: _Charge, charged_us: int, now_us: int) -> int:
    """How many of the hits still count now."""
    limit = charge.question.limit
    if limit.algorithm is not Algorithm.TOKEN_BUCKET:
        # The window's end took all of them with it; of a sliding one they fade, and cannot be told from others'.
        return charge.hits if now_us // limit.window_us == charged_us // limit.window_us else 0
    if now_us <= charged_us:
        return charge.hits
    # Until the bucket is full again, had nobody else taken from it since: rounded up to a microsecond.
    until_full = charged_us + charge.after.reset_after_us - now_us
    if until_full <= 0:
        return 0
    # At least so much is missing by then, in parts of a token.
    missing = (until_full - 1) * limit.limit + 1
    if missing >= charge.hits * limit.window_us:
        return charge.hits
    # Without these hits the bucket were full by now. Of the last token a part has come back: if others have taken from
    # the bucket meanwhile, they would get that part twice.
    tokens = -(-missing // limit.window_us)
    others = limit.capacity - charge.seen.remaining > tokens
    return missing // limit.window_us if others else tokens


_NONE = Decision(True, 0, 0, 0)


def joined(
    count: int, places: Sequence[int], decisions: Sequence[Decision], others: Sequence[Decision] = ()
) -> list[Decision]:
    """`count` decisions: these at their places, between `others`."""
    joined = list(others) or [_NONE] * count
    for place, decision in zip(places, decisions, strict=True):
        joined[place] = decision
    return joined
