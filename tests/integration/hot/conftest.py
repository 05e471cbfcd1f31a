"""Two processes with hot ports: a rate limiter, and one that does what it is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.ratelimiter.process import Limiter, limiter_running
from tests.support.hot_port import need_hot_port
from tests.support.process import Process, started

RULES = """
domain: shop
descriptors:
  - key: address
    rate_limit: {unit: year, requests_per_unit: 3}
"""


@pytest.fixture(scope="package", autouse=True)
def built() -> None:
    """See `need_hot_port`."""
    need_hot_port()


@pytest.fixture(scope="package")
def limiter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limiter]:
    """A rate limiter with one rule."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "shop.yaml").write_text(RULES)
    with limiter_running(folder) as limiter:
        yield limiter


@pytest.fixture
def echo() -> Iterator[Process]:
    """See `tests.support.echo_server`."""
    with started("-m", "tests.support.echo_server") as process:
        process.wait_for("serving")
        yield process
