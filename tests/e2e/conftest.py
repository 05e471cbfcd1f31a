"""One mesh for all end-to-end tests: everything that `waypost up` starts, with nothing left out."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import httpx
import pytest

from tests.e2e.api import Api, channel
from tests.support.credentials import headers_of
from tests.support.leaks import assert_nothing_is_told
from tests.support.mesh import Mesh, mesh_running

ENV = {
    "WAYPOST_SWEEP_INTERVAL_SECONDS": "1",
    # A slow machine is not to be taken for a limiter that is away.
    "WAYPOST_RATELIMITER_TIMEOUT_MS": "2000",
    "WAYPOST_ENVOY_RATELIMITER_TIMEOUT_MS": "2000",
    # All of these tests are one address, and try out many codes.
    "WAYPOST_GATEWAY_UNKNOWN_CODES_PER_MINUTE": "1000000",
    # An id is followed through all logs.
    "WAYPOST_RATELIMITER_LOG_EVERY": "1",
}

STRICT_LIMIT = 5
STRICT_GUESSES = 60
STRICT_RULES = f"""
domain: waypost
descriptors:
  - key: route_class
    value: create
    descriptors:
      - key: remote_address
        rate_limit: {{algorithm: token_bucket, unit: hour, requests_per_unit: {STRICT_LIMIT}, burst: {STRICT_LIMIT}}}
      - key: principal
        rate_limit: {{algorithm: token_bucket, unit: hour, requests_per_unit: {STRICT_LIMIT}, burst: {STRICT_LIMIT}}}
"""
NO_RULES = """
domain: waypost
descriptors: []
"""
OPERATOR = "operator-by-token"
"""The subject of an operator of `besieged`."""
SHOP_RULES = """
domain: shop
descriptors:
  - key: probe
    rate_limit: {algorithm: token_bucket, unit: hour, requests_per_unit: 2}
"""


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """The session's mesh; tests make links of their own and do not stop anything."""
    with mesh_running(env=ENV) as mesh:
        yield mesh
        assert_nothing_is_told(mesh)


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh as one may run it in public: a name of its own, few links an hour by one address or key, no private hosts.

    Tests call it from addresses of their own, and with keys of their own.
    """
    with mesh_running(env=strict_settings(tmp_path_factory)) as mesh:
        yield mesh
        assert_nothing_is_told(mesh)


@pytest.fixture(scope="session")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that limits nobody and listens to any number of wrong credentials: haste shall save nobody from attacks.

    `OPERATOR` is an operator of it, if they come with a token.
    """
    folder = tmp_path_factory.mktemp("limits")
    (folder / "none.yaml").write_text(NO_RULES)
    (folder / "shop.yaml").write_text(SHOP_RULES)
    env = {
        **ENV,
        "WAYPOST_LIMITS_DIR": str(folder),
        "WAYPOST_FAILED_CREDENTIALS_PER_MINUTE": "1000000",
        "WAYPOST_OPERATORS": f"someone,{OPERATOR}",
    }
    with mesh_running(env=env) as mesh:
        yield mesh
        assert_nothing_is_told(mesh)


@pytest.fixture
def strict_and_fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """As `strict`, for a test that cannot choose the address that it calls from."""
    with mesh_running(env=strict_settings(tmp_path_factory)) as mesh:
        yield mesh


def strict_settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "strict.yaml").write_text(STRICT_RULES)
    (folder / "shop.yaml").write_text(SHOP_RULES)
    return {
        **ENV,
        "WAYPOST_LIMITS_DIR": str(folder),
        "WAYPOST_PUBLIC_URL": "https://Go.Example.com/s/",
        "WAYPOST_ALLOW_PRIVATE_HOSTS": "false",
        "WAYPOST_FAILED_CREDENTIALS_PER_MINUTE": str(STRICT_GUESSES),
        # A proxy for the way out has nothing to do with how services reach each other.
        "http_proxy": "http://127.0.0.1:9",
        "grpc_proxy": "http://127.0.0.1:9",
    }


@pytest.fixture(scope="session")
def owner_key(mesh: Mesh) -> str:
    """The key of an owner of the default workspace, in which links without an owner are made too."""
    return mesh.key_blocking()


@pytest.fixture(scope="session")
def api(mesh: Mesh, owner_key: str) -> Iterator[Api]:
    """Its JSON API and redirects, for an owner."""
    with httpx.Client(base_url=mesh.http_url, headers=headers_of(owner_key), trust_env=False, timeout=20) as client:
        yield Api(mesh, client)


@pytest.fixture(scope="session")
def stranger(mesh: Mesh) -> Iterator[Api]:
    """The same for somebody without credentials."""
    with httpx.Client(base_url=mesh.http_url, trust_env=False, timeout=20) as client:
        yield Api(mesh, client)


@pytest.fixture(scope="session")
def edge_channel(mesh: Mesh, owner_key: str) -> Iterator[grpc.Channel]:
    """gRPC through Envoy, for an owner."""
    with channel(mesh, "http", owner_key) as edge:
        yield edge


@pytest.fixture(scope="session")
def gateway_channel(mesh: Mesh, owner_key: str) -> Iterator[grpc.Channel]:
    """The gateway's control port, for an owner."""
    with channel(mesh, "gateway_control", owner_key) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def ratelimiter_channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    """The rate limiter's control port, without credentials: those who get there are of the mesh."""
    with channel(mesh, "ratelimiter_control") as ratelimiter:
        yield ratelimiter


@pytest.fixture(scope="session")
def workers_channel(mesh: Mesh) -> Iterator[grpc.Channel]:
    """The workers' control port, for an operator."""
    with channel(mesh, "workers_control", mesh.operator_key) as workers:
        yield workers


@pytest.fixture(params=["edge_channel", "gateway_channel"])
def links_channel(request: pytest.FixtureRequest) -> grpc.Channel:
    """LinkService, through Envoy and without it."""
    found: grpc.Channel = request.getfixturevalue(request.param)
    return found
