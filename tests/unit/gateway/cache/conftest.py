"""What the tests of the redirect cache share."""

from __future__ import annotations

import pytest

from tests.unit.gateway.cache.world import World


@pytest.fixture
def world() -> World:
    return World()
