"""The compiled core: what every request passes through and must not wait for.

Imports the standard library and nothing of ours, so that it can be built, tested and fuzzed alone. The definitions are
plain Python and written to be read: the algorithms (`native.limits`), one request that meets several limits
(`native.request`), the bounded table of counters (`native.table`), the tree of rules (`native.rules`). Their compiled
twins (`native._limits`, `native._table`, `native._rules`) give the same answers; `Table` and `RuleTree` are the
compiled ones where they were built.
"""

import importlib
import warnings

from native.table import DEFAULT_CAPACITY

# All but the first: what Cython says where a module was built for others than those that it finds beside it.
_UNUSABLE = (ImportError, ValueError, TypeError, AttributeError, RuntimeWarning)


def _why(error: Exception) -> str:
    """What is the matter with a module, to be said behind its name."""
    if isinstance(error, ModuleNotFoundError):
        return "is not built"
    if isinstance(error, ImportError):
        return f"does not load ({error})"
    return f"is not built from the sources that are here ({error})"


WHY_PLAIN = ""
"""Why the compiled twins are not in use, as what would follow their name; empty: they are."""


def _load(name: str) -> None:
    with warnings.catch_warnings():
        # A class that has grown is another one, too: its fields may be elsewhere.
        warnings.filterwarnings("error", ".* size changed", RuntimeWarning)
        importlib.import_module(f"native.{name}")


try:
    for _name in ("_rules", "_table"):
        _load(_name)
    from native._rules import RuleTree
    from native._table import Table
except _UNUSABLE as error:
    from native.rules import RuleTree  # type: ignore[assignment]
    from native.table import Table  # type: ignore[assignment]

    WHY_PLAIN = _why(error)

COMPILED = not WHY_PLAIN
"""Whether the compiled twins are in use; who starts says so."""

WHY_NO_HOT_PORT = WHY_PLAIN
"""Why there is no hot port, as what would follow its name; empty: there is."""

try:
    # Where the core is of no use, these stand on nothing.
    for _name in () if WHY_PLAIN else ("_answers", "_health", "_questions", "_server"):
        _load(_name)
except _UNUSABLE as error:
    WHY_NO_HOT_PORT = WHY_NO_HOT_PORT or _why(error)

HOT_PORT = not WHY_NO_HOT_PORT
"""Whether the hot port is there, the transport and the compiled handlers: it needs libnghttp2, also when it runs."""

__all__ = ["COMPILED", "DEFAULT_CAPACITY", "HOT_PORT", "WHY_NO_HOT_PORT", "WHY_PLAIN", "RuleTree", "Table"]
