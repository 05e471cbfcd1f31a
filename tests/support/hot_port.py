"""Tests of hot ports where none may have been built."""

from __future__ import annotations

import pytest

import native
from tests.support.missing import missing

PORTS = (
    "control",
    pytest.param("hot", marks=pytest.mark.skipif(not native.HOT_PORT, reason="the hot port was not built here")),
)
"""Parameters of a test of both ports. Where CI is set and there is none, the test of the build fails for all."""


def need_hot_port() -> None:
    """Skips the test, or the module, where the hot port was not built; fails it if the variable CI is set."""
    if not native.HOT_PORT:
        missing("NO HOT PORT: it is not built (libnghttp2-dev, pkg-config, then make setup); it is not tested")
