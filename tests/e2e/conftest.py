"""One mesh for all end-to-end tests: everything that `waypost up` starts, with nothing left out."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import httpx
import pytest

from tests.e2e.api import Api
from tests.support.mesh import Mesh, mesh_running

ENV = {"WAYPOST_SWEEP_INTERVAL_SECONDS": "1"}


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """The session's mesh; tests make links of their own and do not stop anything."""
    with mesh_running(env=ENV) as mesh:
        yield mesh


@pytest.fixture(scope="session")
def api(mesh: Mesh) -> Iterator[Api]:
    """Its JSON API and redirects."""
    with httpx.Client(base_url=mesh.http_url, trust_env=False, timeout=20) as client:
        yield Api(mesh, client)


@pytest.fixture(scope="session")
def edge_channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    """gRPC through Envoy."""
    with grpc.insecure_channel(f"127.0.0.1:{mesh.ports['http']}") as channel:
        yield channel


@pytest.fixture(scope="session")
def gateway_channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    """The gateway's control port."""
    with grpc.insecure_channel(mesh.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="session")
def ratelimiter_channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    """The rate limiter's control port."""
    with grpc.insecure_channel(f"127.0.0.1:{mesh.ports['ratelimiter_control']}") as channel:
        yield channel


@pytest.fixture(scope="session")
def workers_channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    """The workers' control port."""
    with grpc.insecure_channel(f"127.0.0.1:{mesh.ports['workers_control']}") as channel:
        yield channel


@pytest.fixture(params=["edge_channel", "gateway_channel"])
def links_channel(request: pytest.FixtureRequest) -> grpc.Channel:
    """LinkService, through Envoy and without it."""
    channel: grpc.Channel = request.getfixturevalue(request.param)
    return channel


@pytest.fixture(params=["edge_channel", "ratelimiter_channel"])
def limits_channel(request: pytest.FixtureRequest) -> grpc.Channel:
    """RateLimitService, through Envoy and without it."""
    channel: grpc.Channel = request.getfixturevalue(request.param)
    return channel
