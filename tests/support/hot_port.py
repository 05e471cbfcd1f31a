"""Tests of hot ports where none may have been built."""

from __future__ import annotations

import os

import pytest

import native


def need_hot_port() -> None:
    """Skips the test, or the module, where the hot port was not built; fails it if the variable CI is set."""
    if native.HOT_PORT:
        return
    reason = "NO HOT PORT: it is not built (libnghttp2-dev, pkg-config, then make setup); it is not tested"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
