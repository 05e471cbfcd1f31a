"""From a request to questions: which rules its descriptors meet, by which numbers, and who counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from native.limits import Algorithm, Limit
from native.request import Mode, Question
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from ratelimiter.rules import Rules
from ratelimiter.ruletree import Consistency, Match, Rule, RuleLimit
from waypost.model import LimitEntry


class Overrides(Protocol):
    """Other numbers for single descriptors, set by operators."""

    def find(self, domain: str, entries: Sequence[LimitEntry]) -> LimitNumbers | None:
        """The numbers for exactly this descriptor; None: those of its rule."""
        ...


class NoOverrides:
    """There are none."""

    def find(self, domain: str, entries: Sequence[LimitEntry]) -> LimitNumbers | None:
        """Always None."""
        return None


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a request, and the limit that it is about."""

    limit: RuleLimit
    question: Question
    strict: bool


def match_all(rules: Rules, overrides: Overrides, request: LimitRequest) -> list[Match | None]:
    """What each descriptor meets; None where there is no rule, or another one replaces it."""
    matches = [_match(rules, overrides, request.domain, descriptor) for descriptor in request.descriptors]
    replaced = {name for match in matches if match is not None for name in match.rule.replaces}
    if not replaced:
        return matches
    return [
        None if match is not None and match.rule.limits and match.rule.name in replaced else match for match in matches
    ]


def ask(
    matches: Sequence[Match | None], request: LimitRequest, *, shared: bool, shadow_mode: bool = False
) -> list[Asked]:
    """The questions of a request. `shared`: there is a store for strict limits; `shadow_mode`: no rule refuses."""
    asked: list[Asked] = []
    for index, (match, descriptor) in enumerate(zip(matches, request.descriptors, strict=True)):
        if match is None or not match.rule.limits:
            continue
        rule = match.rule
        hits = request.hits if descriptor.hits is None else descriptor.hits
        # Lengths are hashed, too: no values of one owner are those of another.
        values = (*match.values, request.owner) if request.owner else match.values
        # A descriptor is decided as a whole, by one store.
        strict = shared and any(limit.consistency is Consistency.STRICT for limit in rule.limits)
        for limit in rule.limits:
            question = Question(limit.identity, values, limit.limit, hits, index, _mode(rule, limit, shadow_mode))
            asked.append(Asked(limit, question, strict))
    return asked


def _mode(rule: Rule, limit: RuleLimit, shadow_mode: bool) -> Mode:
    mode = Mode.PLAIN
    if rule.shadow_mode or shadow_mode:
        mode |= Mode.SHADOW
    if rule.quota_mode:
        mode |= Mode.QUOTA
    if limit.count_rejected:
        mode |= Mode.COUNT_REJECTED
    if rule.reference:
        mode |= Mode.REFERENCE
    return mode


def _match(rules: Rules, overrides: Overrides, domain: str, descriptor: Descriptor) -> Match | None:
    match = rules.match(domain, descriptor.entries)
    numbers = descriptor.override or overrides.find(domain, descriptor.entries)
    return match if numbers is None else _overridden(match, numbers, domain, descriptor.entries)


def _overridden(match: Match | None, numbers: LimitNumbers, domain: str, entries: Sequence[LimitEntry]) -> Match:
    """The match by other numbers. Those of a limit's own window share its count; others have a fixed window."""
    reference = match is not None and match.rule.reference
    place = ".".join((domain, *(f"{e.key}_{e.value}" if e.value else e.key for e in entries)))
    if numbers.limit is None:
        return Match(Rule(match.rule.place if match else place, ()), ())
    if match is not None and not reference:
        for own in match.rule.limits:
            if own.limit.window_us == numbers.window_us:
                bucket = own.limit.algorithm is Algorithm.TOKEN_BUCKET
                limit = Limit(own.limit.algorithm, numbers.limit, numbers.window_us, numbers.burst if bucket else None)
                return Match(Rule(match.rule.place, (replace(own, limit=limit),)), match.values)
    algorithm = Algorithm.FIXED_WINDOW if numbers.burst is None else Algorithm.TOKEN_BUCKET
    # Few identities, whatever requests bring: stores keep something for each.
    identity = ("override", algorithm.value, str(numbers.window_us))
    values = (domain, *(text for entry in entries for text in (entry.key, entry.value)))
    limit = Limit(algorithm, numbers.limit, numbers.window_us, numbers.burst)
    return Match(Rule(place, (RuleLimit(limit, identity),), reference=reference), values)
