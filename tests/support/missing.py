"""What a test needs and this machine has not: said aloud on a laptop, a failure where CI is set."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skips the test, or the module that calls this while it is imported; fails it if the variable CI is set."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


def program(name: str) -> Path:
    """A program that a locked package brings into this environment; without it as `missing`."""
    path = Path(sys.executable).with_name(name)
    if not path.is_file():
        missing(f"{path} is missing: `make setup` has it")
    return path
