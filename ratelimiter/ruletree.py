"""The tree of one domain's rules, and how a request's descriptor finds its rule in it.

Matching is that of envoyproxy/ratelimit (`GetLimit` in its `config_impl.go`), but by pairs of key and value where that
joins them to one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from native.limits import Limit
from waypost.model import LimitEntry

MAX_DOMAIN_BYTES = 255
MAX_KEY_BYTES = 255
MAX_VALUE_BYTES = 4096
"""Bounds of names in UTF-8, in a rule file and in a request alike."""


class Consistency(StrEnum):
    """Who counts."""

    STRICT = "strict"
    """All replicas together, in Redis; without Redis, as local."""
    LOCAL = "local"
    """Each replica by itself."""


class OnStoreFailure(StrEnum):
    """What a strict limit answers when Redis does not."""

    ALLOW = "allow"
    DENY = "deny"
    LOCAL = "local"
    """What this replica's own counter says."""


@dataclass(frozen=True, slots=True)
class RuleLimit:
    """One limit of a rule, and how it is counted."""

    limit: Limit
    identity: tuple[str, ...]
    """For counters: domain, keys and values on the way, algorithm and window. A change of the numbers keeps it."""
    consistency: Consistency = Consistency.STRICT
    on_store_failure: OnStoreFailure = OnStoreFailure.LOCAL
    count_rejected: bool = False
    """Counts its hits also in requests that are refused."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a descriptor that matches is held to."""

    place: str
    """For people: the domain and the keys and values on the way, `waypost.route_class_create.remote_address`."""
    limits: tuple[RuleLimit, ...]
    """It admits what all of them admit. None: unlimited."""
    name: str = ""
    replaces: frozenset[str] = frozenset()
    """Names of rules that do not count in a request that this one matches too."""
    shadow_mode: bool = False
    """Decides and counts, but never refuses."""
    quota_mode: bool = False
    """Refuses only when all quota rules of a request do."""
    reference: bool = False
    """Counts as envoyproxy/ratelimit does: always, also what is refused (`compat: envoyproxy`)."""
    detailed_metric: bool = False
    """Its metric has the values of the request that the rule leaves open."""
    metadata: Mapping[str, object] | None = field(default=None, hash=False)
    """What whoever wrote the rule wants to be told with an answer: texts, numbers, flags, lists and mappings."""


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that a descriptor met, and the texts that tell its counter from the rule's others."""

    rule: Rule
    values: tuple[str, ...]
    metric_place: str = ""
    """For metrics, if the rule wants values of the request in its name there; else empty, and the rule's place serves.

    As many different ones as requests bring values: who exports it has to bound it.
    """


class Found(StrEnum):
    """By what a descriptor of the file was met by an entry of a request."""

    EXACT = "exact"
    PATTERN = "pattern"
    """A `*` in its key or value."""
    DEFAULT = "default"
    """It has no value, and stands for all."""


@dataclass(slots=True)
class Pattern:
    """A descriptor with a `*` in its key or its value, both split there."""

    key: tuple[str, ...]
    value: tuple[str, ...]
    """Empty: any value."""
    node: Node

    def matches(self, entry: LimitEntry) -> bool:
        """Whether it stands for an entry."""
        return matches_pattern(self.key, entry.key) and (not self.value or matches_pattern(self.value, entry.value))


@dataclass(slots=True)
class Node:
    """One descriptor of the file: perhaps a rule, and the descriptors nested in it."""

    key: str = ""
    value: str = ""
    """As the file has them. The root has its domain for a key."""
    rule: Rule | None = None
    share_threshold: bool = False
    """All values that its pattern stands for have one counter."""
    value_to_metric: bool = False
    """Metrics of the rules here and below have the request's value in their names."""
    exact: dict[tuple[str, str], Node] = field(default_factory=dict)
    patterns: list[Pattern] = field(default_factory=list)
    """In the order of the file."""
    by_key: dict[str, Node] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    """All that are nested in it, in the order of the file."""

    @property
    def text(self) -> str:
        """For people: the key, and the value if it has one."""
        return f"{self.key}_{self.value}" if self.value else self.key

    def add(self, node: Node) -> bool:
        """Nests `node` under its key and value; an empty value stands for any. False: there is one already."""
        if node.value:
            if (node.key, node.value) in self.exact:
                return False
            self.exact[node.key, node.value] = node
        elif node.key in self.by_key:
            return False
        else:
            self.by_key[node.key] = node
        if "*" in node.key or "*" in node.value:
            value = tuple(node.value.split("*")) if node.value else ()
            self.patterns.append(Pattern(tuple(node.key.split("*")), value, node))
        self.children.append(node)
        return True

    def match(self, entries: Sequence[LimitEntry]) -> Match | None:
        """The rule at exactly the depth of `entries`; rules above it or below it do not apply."""
        node = self
        values: list[str] = []
        path: list[tuple[LimitEntry, Node, Found]] = []
        to_metric = False
        for entry in entries:
            found = node.child(entry)
            if found is None:
                return None
            node, how = found
            values += (entry.key, node.counted_value(entry, how))
            path.append((entry, node, how))
            to_metric = to_metric or node.value_to_metric
        if node.rule is None:
            return None
        place = _metric_place(self.key, node.rule, path) if to_metric or node.rule.detailed_metric else ""
        return Match(node.rule, tuple(values), place)

    def child(self, entry: LimitEntry) -> tuple[Node, Found] | None:
        """The node for an entry: its very key and value, else the first pattern that fits, else the key's default."""
        exact = self.exact.get((entry.key, entry.value))
        if exact is not None:
            return exact, Found.EXACT
        for pattern in self.patterns:
            if pattern.matches(entry):
                return pattern.node, Found.PATTERN
        default = self.by_key.get(entry.key)
        return None if default is None else (default, Found.DEFAULT)

    def counted_value(self, entry: LimitEntry, how: Found) -> str:
        """What of an entry tells counters apart: its value, or the pattern that all of them share."""
        if self.share_threshold and how is Found.PATTERN:
            return self.value or self.key
        return entry.value


def _metric_place(domain: str, rule: Rule, path: Sequence[tuple[LimitEntry, Node, Found]]) -> str:
    """What `detailed_metric` and `value_to_metric` make of a rule's place; shared patterns stay patterns."""
    parts = [domain]
    for entry, node, how in path:
        shared = node.share_threshold and how is Found.PATTERN
        if shared or not (rule.detailed_metric or node.value_to_metric):
            parts.append(node.text)
        else:
            parts.append(f"{entry.key}_{entry.value}" if entry.value else entry.key)
    return ".".join(parts)


def matches_pattern(parts: Sequence[str], value: str) -> bool:
    """Whether `value` is made of `parts`, in order, with anything or nothing between each two."""
    if len(parts) == 1:
        return parts[0] == value
    first, *middle, last = parts
    if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
        return False
    position, end = len(first), len(value) - len(last)
    for part in middle:
        # The leftmost place leaves the most room for the parts to come.
        found = value.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
