"""From a request to questions: which rules its descriptors meet, by which numbers, and who counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from native.limits import Algorithm, Limit
from native.request import Mode, Question
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from ratelimiter.rulefile import Compat
from ratelimiter.rules import Rules
from ratelimiter.ruletree import Consistency, Match, Rule, RuleLimit
from waypost.model import LimitEntry

OVERRIDE = "override"
"""What counters and metrics of overrides are called that have no rule's."""


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
            question = Question(limit.identity, values, limit.limit, hits, index, mode_of(rule, limit, shadow_mode))
            asked.append(Asked(limit, question, strict))
    return asked


def mode_of(rule: Rule, limit: RuleLimit, shadow_mode: bool) -> Mode:
    """How a limit of a rule is decided. `shadow_mode`: of the process."""
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
    known = rules.domain(domain)
    match = rules.match(domain, descriptor.entries)
    # As in the reference: numbers in a request are of no account in a domain without rules, and enforced in others.
    numbers = None if known is None else descriptor.override
    if numbers is not None and match is not None:
        match = replace(match, rule=_plain(match.rule))
    numbers = numbers or overrides.find(domain, descriptor.entries)
    if numbers is None:
        return match
    reference = known is not None and known.compat is Compat.ENVOYPROXY
    return _overridden(match, numbers, domain, descriptor.entries, reference=reference)


def _plain(rule: Rule) -> Rule:
    return Rule(rule.place, rule.limits, reference=rule.reference, detailed_metric=rule.detailed_metric)


def _overridden(
    match: Match | None, numbers: LimitNumbers, domain: str, entries: Sequence[LimitEntry], *, reference: bool
) -> Match:
    """The match by other numbers. Those of a limit's own window share its count; others have a count of their own."""
    if match is None:
        # Without a rule its place is where one would stand; metrics have no name for each.
        match = Match(Rule(place(domain, entries), (), reference=reference), (), OVERRIDE)
    rule = match.rule
    if numbers.limit is None:
        return replace(match, rule=replace(rule, limits=()))
    if not rule.reference:
        for own in rule.limits:
            if own.limit.window_us == numbers.window_us:
                bucket = own.limit.algorithm is Algorithm.TOKEN_BUCKET
                limit = Limit(own.limit.algorithm, numbers.limit, numbers.window_us, numbers.burst if bucket else None)
                return replace(match, rule=replace(rule, limits=(replace(own, limit=limit),)))
    bucket = numbers.burst is not None and not rule.reference
    algorithm = Algorithm.TOKEN_BUCKET if bucket else Algorithm.FIXED_WINDOW
    limit = Limit(algorithm, numbers.limit, numbers.window_us, numbers.burst if bucket else None)
    # Few identities, whatever requests bring: stores keep something for each.
    identity = (OVERRIDE, algorithm.value, str(numbers.window_us))
    values = (domain, *(text for entry in entries for text in (entry.key, entry.value)))
    # Asked of whom the rule's own limit is asked.
    how = rule.limits[0] if rule.limits else RuleLimit(limit, identity)
    return replace(match, rule=replace(rule, limits=(replace(how, limit=limit, identity=identity),)), values=values)


def place(domain: str, entries: Sequence[LimitEntry]) -> str:
    """Where a rule for exactly this descriptor would stand."""
    return ".".join((domain, *(f"{entry.key}_{entry.value}" if entry.value else entry.key for entry in entries)))
