from collections.abc import Iterable

from typing_extensions import disjoint_base

from native._rules import RuleTree
from native._table import Table
from native.plan import PlannedRule

@disjoint_base
class Plan:
    """The rules of a tree, by its numbers, ready to decide by; None: requests that meet that rule go up.

    Their limits are pinned in the table's registry for as long as the plan lives. May be made in any thread.
    """

    def __new__(cls, table: Table, tree: RuleTree, rules: Iterable[PlannedRule | None], now_us: int) -> Plan: ...
    @property
    def serial(self) -> int:
        """No two plans of a process have the same."""
    def take_counts(self, store: bool = False) -> list[tuple[int, int, int, int]]:
        """Descriptors that were allowed, refused and refused in shadow mode since the last time, by number of rule.

        Those that were decided here, or by the store.

        The number behind the last rule's is for those that met none.
        """

@disjoint_base
class View:
    """A plan and what has overrides, which are in force together.

    Overridden are descriptors of these domains that have one of these digests, one behind the other in ascending order.
    """

    def __new__(cls, plan: Plan, domains: RuleTree | None = None, digests: bytes = b"") -> View: ...
    @property
    def serial(self) -> int:
        """Of the plan."""
