"""The tree of rules, and how a request's descriptor finds its rule in it.

Matching is that of envoyproxy/ratelimit (`GetLimit` in its `config_impl.go`), but by pairs of key and value where that
joins them to one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, Self, TypeVar

MAX_DEPTH = 64
MAX_NODES = 2**24
"""Of all domains together."""
NO_RULE = -1


class Entry(Protocol):
    """A key and value of a request's descriptor."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str: ...


class Found(StrEnum):
    """By what a descriptor of the file was met by an entry of a request."""

    EXACT = "exact"
    PATTERN = "pattern"
    """A `*` in its key or value."""
    DEFAULT = "default"
    """It has no value, and stands for all."""


N = TypeVar("N", bound="Node")


@dataclass(slots=True)
class Pattern(Generic[N]):
    """A descriptor with a `*` in its key or its value, both split there."""

    key: tuple[str, ...]
    value: tuple[str, ...]
    """Empty: any value."""
    node: N

    def matches(self, entry: Entry) -> bool:
        """Whether it stands for an entry."""
        return matches_pattern(self.key, entry.key) and (not self.value or matches_pattern(self.value, entry.value))


@dataclass(slots=True)
class Node:
    """One descriptor of a file: perhaps a rule, and the descriptors nested in it."""

    key: str = ""
    value: str = ""
    """As the file has them."""
    number: int = NO_RULE
    """Of its rule; negative: it has none."""
    share_threshold: bool = False
    """All values that its pattern stands for have one counter."""
    exact: dict[tuple[str, str], Self] = field(default_factory=dict)
    patterns: list[Pattern[Self]] = field(default_factory=list)
    """In the order of the file."""
    by_key: dict[str, Self] = field(default_factory=dict)
    children: list[Self] = field(default_factory=list)
    """All that are nested in it, in the order of the file."""

    def add(self, node: Self) -> bool:
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

    def child(self, entry: Entry) -> tuple[Self, Found] | None:
        """The node for an entry: its very key and value, else the first pattern that fits, else the key's default."""
        exact = self.exact.get((entry.key, entry.value))
        if exact is not None:
            return exact, Found.EXACT
        for pattern in self.patterns:
            if pattern.matches(entry):
                return pattern.node, Found.PATTERN
        default = self.by_key.get(entry.key)
        return None if default is None else (default, Found.DEFAULT)

    def counted_value(self, entry: Entry, how: Found) -> str:
        """What of an entry tells counters apart: its value, or the pattern that all of them share."""
        if self.share_threshold and how is Found.PATTERN:
            return self.value or self.key
        return entry.value


class RuleTree:
    """The rules of all domains, each known by a number. Not changed once it is made, nor are its nodes."""

    def __init__(self, roots: Mapping[str, Node]) -> None:
        """`roots` by domain: what is nested in them is matched. Raises `ValueError` for a tree beyond the bounds."""
        in_order(roots)
        self._roots = dict(roots)

    def match(self, domain: str, entries: Sequence[Entry]) -> tuple[int, tuple[str, ...]] | None:
        """The number of the rule for a descriptor, and the texts that tell its counter from the rule's others.

        The rule is that at exactly the depth of `entries`; rules above it or below it do not apply.
        """
        node = self._roots.get(domain)
        if node is None:
            return None
        values: list[str] = []
        for entry in entries:
            found = node.child(entry)
            if found is None:
                return None
            node, how = found
            values += (entry.key, node.counted_value(entry, how))
        return None if node.number < 0 else (node.number, tuple(values))


def in_order(roots: Mapping[str, Node]) -> tuple[list[Node], int]:
    """All nodes, level by level, each one's children together and in their order; and how deep they nest.

    Raises `ValueError` for more than `MAX_NODES`, or deeper than `MAX_DEPTH`.
    """
    nodes = list(roots.values())
    start, depth = 0, -1
    while start < len(nodes):
        depth += 1
        level = nodes[start:]
        start = len(nodes)
        for node in level:
            nodes += node.children
            if len(nodes) > MAX_NODES:
                raise ValueError(f"a tree has at most {MAX_NODES} nodes")
        if depth > MAX_DEPTH:
            raise ValueError(f"a tree is at most {MAX_DEPTH} deep")
    return nodes, max(depth, 0)


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
