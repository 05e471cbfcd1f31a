"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mesh import data_folder


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory with an empty database in it."""
    with data_folder() as folder:
        yield folder
