"""One Envoy with its upstreams for each module; every test finds the upstreams without a script.

Each test runs twice: the services take their calls on hot ports, then on control ports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.integration.envoy import edge as edges
from tests.integration.envoy.edge import Edge
from tests.integration.envoy.hot_upstream import hot_port
from tests.integration.envoy.upstreams import Script, ServicePort, Web, control_port, web_port
from waypost.supervisor.envoy import EnvoyConfig


@dataclass(frozen=True)
class Mesh:
    """An edge and what stands behind it."""

    edge: Edge
    gateway: ServicePort
    ratelimiter: ServicePort
    web: Web

    @property
    def links(self) -> Script:
        return self.gateway.script

    @property
    def limits(self) -> Script:
        return self.ratelimiter.script

    @property
    def guard(self) -> Script:
        """What Envoy asks the rate limiter before it passes a call on."""
        return self.ratelimiter.guard


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[hot_port, control_port], ids=["hot", "control"])
async def running_mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    edges.program()
    folder = tmp_path_factory.mktemp("edge")
    async with request.param() as gateway, request.param() as ratelimiter, web_port() as web:
        config = EnvoyConfig(
            descriptor_set=edges.descriptor_set(folder),
            gateway=("127.0.0.1", gateway.port),
            gateway_web=("127.0.0.1", web.port),
            ratelimiter=("127.0.0.1", ratelimiter.port),
            # A slow machine is not to be taken for a limiter that is away.
            ratelimiter_timeout_ms=5000,
        )
        async with edges.running(config, folder) as edge:
            yield Mesh(edge, gateway, ratelimiter, web)


@pytest.fixture
def mesh(running_mesh: Mesh) -> Mesh:
    running_mesh.links.reset()
    running_mesh.limits.reset()
    running_mesh.guard.reset()
    running_mesh.web.reset()
    return running_mesh
