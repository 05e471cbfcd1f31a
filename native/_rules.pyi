from collections.abc import Mapping, Sequence

from typing_extensions import disjoint_base

from native.rules import Entry, Node

@disjoint_base
class RuleTree:
    def __new__(cls, roots: Mapping[str, Node]) -> RuleTree: ...
    def match(self, domain: str, entries: Sequence[Entry]) -> tuple[int, tuple[str, ...]] | None: ...

@disjoint_base
class CurrentTree:
    """The tree in force, for threads that do not hold the interpreter lock; a replaced one stays while they read it."""

    def __new__(cls, tree: RuleTree) -> CurrentTree: ...
    @property
    def tree(self) -> RuleTree: ...
    def publish(self, tree: RuleTree) -> int:
        """Puts a tree in force, and returns how many replaced ones are still being read."""
    def sweep(self) -> int:
        """Frees the replaced trees that nobody reads any more, and returns how many are still being read."""
    def match_without_gil(self, domain: str, entries: Sequence[Entry], times: int) -> list[int]:
        """For tests of threads: the rule that so many matches found, each in the tree in force; -1: none."""
