"""Compiled modules that cannot be used: the plain twins serve then, or the control ports, and it is said why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

# In place of compiled modules: what `native` looks for in them.
THERE = {"_rules": "class RuleTree: ...", "_table": "class Table: ..."}
THERE |= dict.fromkeys(("_answers", "_health", "_questions", "_server"), "")

STALE = "native._table.Table size changed, may indicate binary incompatibility. Expected 96 from C header, got 88"
GROWN = (
    "native._registry.Registry size changed, may indicate binary incompatibility. Expected 96 from C header, got 112"
)
SIGNED = "C function native._rules.find has wrong signature (expected int (int), got int (void))"
GONE = "libnghttp2.so.14: cannot open shared object file: No such file or directory"


def loaded(folder: Path, modules: dict[str, str]) -> dict[str, Any]:
    """What `native` says of itself with these modules in place of compiled ones."""
    shutil.copytree(ROOT / "native", folder / "native", ignore=shutil.ignore_patterns("_*", "*.so", "h2", "rls"))
    shutil.copy2(ROOT / "native" / "__init__.py", folder / "native")
    for name, text in modules.items():
        (folder / "native" / f"{name}.py").write_text(text)
    program = (
        "import json, native; "
        "names = ('COMPILED', 'HOT_PORT', 'WHY_PLAIN', 'WHY_NO_HOT_PORT'); "
        "found = {name: getattr(native, name) for name in names}; "
        "print(json.dumps(found | {'table': native.Table.__module__, 'rules': native.RuleTree.__module__}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def raising(error: str, message: str) -> str:
    """A module that cannot be loaded."""
    return f"raise {error}({message!r})"


def test_what_is_there_is_used(tmp_path: Path) -> None:
    assert loaded(tmp_path, THERE) == {
        "COMPILED": True,
        "HOT_PORT": True,
        "WHY_PLAIN": "",
        "WHY_NO_HOT_PORT": "",
        "table": "native._table",
        "rules": "native._rules",
    }


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        ({}, "is not built"),
        (THERE | {"_rules": raising("ImportError", GONE)}, f"does not load ({GONE})"),
        (THERE | {"_table": raising("ValueError", STALE)}, f"is not built from the sources that are here ({STALE})"),
        (
            THERE | {"_table": f"import warnings; warnings.warn({GROWN!r}, RuntimeWarning)\nclass Table: ..."},
            f"is not built from the sources that are here ({GROWN})",
        ),
        (THERE | {"_table": raising("TypeError", SIGNED)}, f"is not built from the sources that are here ({SIGNED})"),
        (
            THERE | {"_rules": ""},
            "does not load (cannot import name 'RuleTree' from 'native._rules' ({folder}/native/_rules.py))",
        ),
    ],
    ids=["nothing", "a library is gone", "other structs", "larger structs", "other functions", "another module"],
)
def test_without_the_compiled_core_the_plain_twins_serve(tmp_path: Path, modules: dict[str, str], why: str) -> None:
    why = why.format(folder=tmp_path)
    assert loaded(tmp_path, modules) == {
        "COMPILED": False,
        "HOT_PORT": False,
        "WHY_PLAIN": why,
        "WHY_NO_HOT_PORT": why,
        "table": "native.table",
        "rules": "native.rules",
    }


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        ({name: text for name, text in THERE.items() if name != "_answers"}, "is not built"),
        (THERE | {"_server": raising("ImportError", GONE)}, f"does not load ({GONE})"),
        (THERE | {"_answers": raising("ValueError", STALE)}, f"is not built from the sources that are here ({STALE})"),
        (
            THERE | {"_answers": raising("AttributeError", "no attribute '__pyx_vtable__'")},
            "is not built from the sources that are here (no attribute '__pyx_vtable__')",
        ),
    ],
    ids=["nothing", "a library is gone", "other structs", "other classes"],
)
def test_without_the_hot_port_the_core_is_as_compiled_as_ever(
    tmp_path: Path, modules: dict[str, str], why: str
) -> None:
    found = loaded(tmp_path, modules)
    assert (found["COMPILED"], found["table"], found["rules"]) == (True, "native._table", "native._rules")
    assert (found["HOT_PORT"], found["WHY_PLAIN"], found["WHY_NO_HOT_PORT"]) == (False, "", why)
