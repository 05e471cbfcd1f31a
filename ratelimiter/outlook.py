"""What a request would be answered, by which rules, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from native.limits import Decision
from native.request import Mode, Question
from ratelimiter.asking import Asked
from ratelimiter.explain import explain_match
from ratelimiter.requests import LimitRequest
from ratelimiter.rules import Rules
from ratelimiter.ruletree import Match


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a request would be answered by a version of the rules."""

    allowed: bool
    matches: tuple[Match | None, ...]
    asked: tuple[Asked, ...]
    decisions: tuple[Decision, ...]
    """One for each of `asked`, by itself."""
    rules: Rules
    generation: int


@dataclass(frozen=True, slots=True)
class Explained:
    """How one descriptor is decided."""

    rule: str
    """Its place; empty: none."""
    reason: str
    limits: tuple[tuple[Asked, Decision], ...]
    counter: tuple[tuple[str, str], ...]
    """Keys and values that tell the counter from others of the same rule."""
    overridden: bool


def explained(request: LimitRequest, outlook: Outlook, *, name_others: bool = True) -> list[Explained]:
    """One for each descriptor of the request that the outlook is for; `name_others` as in `explain_match`."""
    return [
        _explained(request, outlook, index, match, name_others=name_others)
        for index, match in enumerate(outlook.matches)
    ]


def _explained(
    request: LimitRequest, outlook: Outlook, index: int, match: Match | None, *, name_others: bool
) -> Explained:
    descriptor = request.descriptors[index]
    found = explain_match(outlook.rules, request.domain, descriptor.entries, name_others=name_others)
    own = None if found.match is None else found.match.rule
    overridden = match is not None and match.rule is not own
    reason = found.reason
    if overridden:
        reason += "; an override gives it other numbers"
    elif match is None and own is not None:
        reason += "; another rule that this request meets replaces it"
    limits = tuple(
        (one, decision)
        for one, decision in zip(outlook.asked, outlook.decisions, strict=True)
        if one.question.descriptor == index
    )
    place = "" if match is None else match.rule.place
    return Explained(place, reason, limits, () if match is None else _counter(match), overridden)


def _counter(match: Match) -> tuple[tuple[str, str], ...]:
    # Those of an override begin with the domain.
    texts = match.values[len(match.values) % 2 :]
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def to_look(question: Question) -> Question:
    """What to look at a counter with to learn what `question` would be answered: `from_look` makes it of the answer.

    A look asks for room, at least for one hit. The reference refuses only what is above the limit afterwards: hits that
    are 0 or given back are admitted if there were room for one more under a limit that is larger by one, and by them.
    """
    if question.hits > 0 or not question.mode & Mode.REFERENCE:
        return question
    return question._replace(limit=replace(question.limit, limit=question.limit.limit + 1 - question.hits), hits=0)


def from_look(question: Question, decision: Decision) -> Decision:
    """What `question` would be answered, from the look that `to_look` says."""
    if question.hits > 0:
        return decision
    if question.mode & Mode.REFERENCE:
        return decision._replace(remaining=max(0, decision.remaining - 1 + question.hits))
    if question.hits < 0:
        # A look sees no hits that would be given back: those are admitted in any case.
        return decision._replace(allowed=True, retry_after_us=0)
    return decision
