"""The tree of one domain's rules, and how a request's descriptor finds its rule in it.

Matching is that of envoyproxy/ratelimit (`GetLimit` in its `config_impl.go`), but by pairs of key and value where that
joins them to one text.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that a descriptor met, and the texts that tell its counter from the rule's others."""

    rule: Rule
    values: tuple[str, ...]


@dataclass(slots=True)
class Node:
    """One descriptor of the file: perhaps a rule, and the descriptors nested in it."""

    rule: Rule | None = None
    shared_value: str = ""
    """With `share_threshold`, the pattern that stands for all values it matches; else empty."""
    exact: dict[tuple[str, str], Node] = field(default_factory=dict)
    patterns: list[tuple[str, tuple[str, ...], Node]] = field(default_factory=list)
    """Keys, values split at their `*`, and nodes, in the order of the file."""
    by_key: dict[str, Node] = field(default_factory=dict)

    def add(self, key: str, value: str, node: Node) -> None:
        """Nests `node` under `key` and `value`; an empty value stands for any."""
        if not value:
            self.by_key[key] = node
            return
        self.exact[key, value] = node
        if "*" in value:
            self.patterns.append((key, tuple(value.split("*")), node))

    def match(self, entries: Sequence[LimitEntry]) -> Match | None:
        """The rule at exactly the depth of `entries`; rules above it or below it do not apply."""
        node = self
        values: list[str] = []
        for entry in entries:
            child, shared_value = node._child(entry)
            if child is None:
                return None
            values += (entry.key, shared_value or entry.value)
            node = child
        return None if node.rule is None else Match(node.rule, tuple(values))

    def _child(self, entry: LimitEntry) -> tuple[Node | None, str]:
        """The node for an entry: its very value, else the first pattern that fits, else the key's default."""
        exact = self.exact.get((entry.key, entry.value))
        if exact is not None:
            return exact, ""
        for key, parts, node in self.patterns:
            if key == entry.key and matches_pattern(parts, entry.value):
                return node, node.shared_value
        return self.by_key.get(entry.key), ""


def matches_pattern(parts: Sequence[str], value: str) -> bool:
    """Whether `value` is made of `parts`, in order, with anything or nothing between each two."""
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
