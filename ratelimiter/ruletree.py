"""What the tree of one domain's rules is made of; how a request's descriptor finds its rule in it is `native.rules`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import native.rules
from native.limits import Limit
from native.rules import Found, matches_pattern
from waypost.model import LimitEntry

__all__ = [
    "MAX_DOMAIN_BYTES", "MAX_KEY_BYTES", "MAX_VALUE_BYTES", "Consistency", "Found", "Match", "Node", "OnStoreFailure",
    "Rule", "RuleLimit", "matches_pattern", "metric_place",
]  # fmt: skip

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


@dataclass(slots=True)
class Node(native.rules.Node):
    """One descriptor of the file. The root has its domain for a key."""

    rule: Rule | None = None
    value_to_metric: bool = False
    """Metrics of the rules here and below have the request's value in their names."""

    @property
    def text(self) -> str:
        """For people: the key, and the value if it has one."""
        return f"{self.key}_{self.value}" if self.value else self.key


def metric_place(root: Node, rule: Rule, entries: Sequence[LimitEntry]) -> str:
    """What `detailed_metric` and `value_to_metric` make of the place of the rule that `entries` meet.

    Patterns that share one counter stay patterns.
    """
    parts = [root.key]
    node = root
    for entry in entries:
        found = node.child(entry)
        if found is None:
            raise ValueError(f"{rule.place} is not the rule for these entries")
        node, how = found
        shared = node.share_threshold and how is Found.PATTERN
        if shared or not (rule.detailed_metric or node.value_to_metric):
            parts.append(node.text)
        else:
            parts.append(f"{entry.key}_{entry.value}" if entry.value else entry.key)
    return ".".join(parts)
