"""The compiled core: what every request passes through and must not wait for.

Imports the standard library and nothing of ours, so that it can be built, tested and fuzzed alone. The definitions are
plain Python and written to be read: the algorithms (`native.limits`), one request that meets several limits
(`native.request`), the bounded table of counters (`native.table`). Their compiled twins (`native._limits`,
`native._table`) give the same answers to `tests/vectors`; `Table` is the compiled one where it was built.
"""

from native.table import DEFAULT_CAPACITY

try:
    from native._table import Table

    COMPILED = True
except ImportError:
    from native.table import Table  # type: ignore[assignment]

    COMPILED = False
"""Whether the compiled twins are in use; who starts says so."""

__all__ = ["COMPILED", "DEFAULT_CAPACITY", "Table"]
