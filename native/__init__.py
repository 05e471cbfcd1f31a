"""The compiled core: what every request passes through and must not wait for.

Imports the standard library and nothing of ours, so that it can be built, tested and fuzzed alone. The definitions are
plain Python and written to be read: the algorithms (`native.limits`), one request that meets several limits
(`native.request`), the bounded table of counters (`native.table`), the tree of rules (`native.rules`). Their compiled
twins (`native._limits`, `native._table`, `native._rules`) give the same answers; `Table` and `RuleTree` are the
compiled ones where they were built.
"""

from native.table import DEFAULT_CAPACITY

try:
    from native._rules import RuleTree
    from native._table import Table

    COMPILED = True
except ImportError:
    from native.rules import RuleTree  # type: ignore[assignment]
    from native.table import Table  # type: ignore[assignment]

    COMPILED = False
"""Whether the compiled twins are in use; who starts says so."""

try:
    from native import _answers, _server  # noqa: F401 - that they load is what matters

    HOT_PORT = COMPILED
except ImportError:
    HOT_PORT = False
"""Whether the hot port is there, the transport and the compiled handlers: it needs libnghttp2, also when it runs."""

__all__ = ["COMPILED", "DEFAULT_CAPACITY", "HOT_PORT", "RuleTree", "Table"]
