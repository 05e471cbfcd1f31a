"""Why a descriptor meets the rule that it meets, or none: the way through the tree, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ratelimiter.rules import Rules
from ratelimiter.ruletree import Found, Match, Node
from waypost.model import LimitEntry

MAX_NAMED = 8
"""So many descriptors that would have matched are named."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the request, and the descriptor of the file that it met."""

    entry: LimitEntry
    found: Found | None
    """By what it was met; None: nothing."""
    descriptor: str = ""
    """Key and value as the file has them: `path_/api/*`."""
    shared: bool = False
    """All values that its pattern stands for have one counter."""

    @property
    def says(self) -> str:
        """The step in words."""
        if self.found is None:
            return "no descriptor for it here"
        if self.found is Found.EXACT:
            return f"descriptor {self.descriptor}, exactly"
        if self.found is Found.DEFAULT:
            return f"descriptor {self.descriptor}, for any value that has none of its own"
        return f"descriptor {self.descriptor}, by its pattern{', with one counter for all values' * self.shared}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of the search for a descriptor's rule."""

    domain: str
    match: Match | None
    """The rule; None: none applies, and the request is not limited by this descriptor."""
    path: tuple[Step, ...]
    """As far as the search came."""
    reason: str
    """One sentence: which rule it is, or why there is none and what would have matched there."""


def explain_match(rules: Rules, domain: str, entries: Sequence[LimitEntry], *, name_others: bool = True) -> Explanation:
    """Follows the entries through the domain's tree. `name_others`: the reason may name what was not asked for."""
    found = rules.domain(domain)
    if found is None:
        others = f"; there are some for {_named(list(rules.domains))}" if name_others else ""
        return Explanation(domain, None, (), f"no rules for the domain {domain!r}{others}")
    node = found.root
    steps: list[Step] = []
    for entry in entries:
        child = node.child(entry)
        if child is None:
            steps.append(Step(entry, None))
            reason = _nothing_for(entry, node, _place(domain, steps[:-1]), name_others=name_others)
            return Explanation(domain, None, tuple(steps), reason)
        node, how = child
        steps.append(Step(entry, how, node.text, node.share_threshold and how is Found.PATTERN))
    match = rules.match(domain, entries)
    if match is None:
        reason = _no_rule_at(node, _place(domain, steps), name_others=name_others)
        return Explanation(domain, None, tuple(steps), reason)
    limits = len(match.rule.limits)
    held = "which is unlimited" if not limits else "with one limit" if limits == 1 else f"with {limits} limits"
    return Explanation(domain, match, tuple(steps), f"meets the rule {match.rule.place}, {held}")


def _nothing_for(entry: LimitEntry, node: Node, place: str, *, name_others: bool) -> str:
    if not node.children:
        return (
            f"no rule: {place} nests no descriptors, so nothing is for {_text(entry)}; a rule applies at its own depth"
        )
    if not name_others:
        return f"no rule: below {place} nothing is for {_text(entry)}"
    named = _named([child.text for child in node.children])
    keys = {child.key for child in node.children}
    why = "other values of its key" if entry.key in keys else "other keys"
    return f"no rule: below {place} nothing is for {_text(entry)}; there are {why}: {named}"


def _no_rule_at(node: Node, place: str, *, name_others: bool) -> str:
    if not node.children:
        return f"no rule: {place} has neither rate_limit nor limits, which lets its requests pass"
    if not name_others:
        return f"no rule: {place} has no limit of its own"
    named = _named([child.text for child in node.children])
    return f"no rule: {place} has no limit of its own; the next entry would have to be for one of {named}"


def _place(domain: str, steps: Sequence[Step]) -> str:
    return ".".join((domain, *(step.descriptor for step in steps)))


def _text(entry: LimitEntry) -> str:
    return f"{entry.key}={entry.value}"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED]) or "none"
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"
