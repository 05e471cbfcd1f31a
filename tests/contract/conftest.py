"""Tests of services in this process share one event loop: grpcio is made for one loop in a process."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
