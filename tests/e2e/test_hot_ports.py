"""Which ports calls come in by: the compiled ones where there are any, else the control ports, which serve the same."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.e2e.api import channel
from tests.e2e.conftest import ENV
from tests.e2e.test_metrics import scrape
from tests.support.credentials import headers_of
from tests.support.hot_port import need_hot_port
from tests.support.mesh import Mesh, mesh_running
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

CREATES = 3
RULES = f"""
domain: waypost
descriptors:
  - key: route_class
    value: create
    descriptors:
      - key: masked_remote_address
        rate_limit: {{algorithm: token_bucket, unit: hour, requests_per_unit: {CREATES}}}
"""


@pytest.fixture(params=["hot", "hot by socket", "control"])
def mesh_by(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that admits a few creates, with its calls coming in by each kind of port."""
    if request.param != "control":
        need_hot_port()
    rules = tmp_path_factory.mktemp("limits")
    (rules / "few.yaml").write_text(RULES)
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="waypost-") as folder:
        by = {
            "hot": {},
            "hot by socket": {"WAYPOST_HOT_HOST": f"unix:{folder}"},
            "control": {"WAYPOST_HOT_PORTS": "false"},
        }[request.param]
        with mesh_running(env=ENV | {"WAYPOST_LIMITS_DIR": str(rules)} | by) as mesh:
            yield mesh
        assert not list(Path(folder).iterdir())


def came_by_hot_port(mesh: Mesh, service: str) -> float:
    """Calls that a service's hot port has answered, itself or by Python."""
    return sum(
        value
        for (name, _), value in scrape(mesh, service).items()
        if name in ("hot_port_calls_up_total", "hot_port_handler_seconds_count")
    )


def upstreams(mesh: Mesh) -> dict[str, str]:
    """Where Envoy's clusters lead, by their names."""
    url = f"http://127.0.0.1:{mesh.ports['envoy_admin']}/clusters"
    clusters = httpx.get(url, params={"format": "json"}, trust_env=False).json()["cluster_statuses"]
    found = {}
    for cluster in clusters:
        (host,) = cluster["host_statuses"]
        address = host["address"]
        found[cluster["name"]] = (
            address["pipe"]["path"] if "pipe" in address else str(address["socket_address"]["port_value"])
        )
    return found


def test_a_link_is_made_followed_and_limited_whichever_port_serves_it(mesh_by: Mesh) -> None:
    hot = mesh_by.env.get("WAYPOST_HOT_PORTS") != "false"
    folder = mesh_by.env.get("WAYPOST_HOT_HOST", "").removeprefix("unix:")
    kind = "hot" if hot else "control"
    where = {
        name: f"{folder}/{name}.sock" if folder else str(mesh_by.ports[f"{name}_{kind}"])
        for name in ("gateway", "ratelimiter")
    }
    assert upstreams(mesh_by) == {
        **where,
        "limits": where["ratelimiter"],
        "gateway_web": str(mesh_by.ports["gateway_web"]),
    }
    said = [event["detail"] for event in mesh_by.events if event["event"] == "hot_ports_absent"]
    assert said == (
        [] if hot else ["no hot ports, WAYPOST_HOT_PORTS is off: the control ports serve all calls, slower"]
    )
    before = {name: came_by_hot_port(mesh_by, name) for name in where}
    with (
        httpx.Client(base_url=mesh_by.http_url, trust_env=False, timeout=20) as client,
        channel(mesh_by, "http") as edge,
    ):
        made = client.post("/api/v1/shorten", json={"url": "https://example.com/json"})
        assert made.status_code == 200, made.text
        code = made.json()["short_code"]
        assert client.get(f"/{code}").headers["location"] == "https://example.com/json"
        stub = LinkServiceStub(edge)
        other = stub.CreateLink(links.CreateLinkRequest(url="https://example.com/grpc"), timeout=20)
        assert stub.ResolveLink(links.ResolveLinkRequest(short_code=other.short_code), timeout=20).http_status == 302
        owner = headers_of(mesh_by.key_blocking())
        assert client.get(f"/api/v1/urls/{code}", headers=owner).status_code == 200
        check = {"domain": "mine", "descriptors": [{"entries": [{"key": "k", "value": "v"}]}]}
        assert client.post("/api/v1/ratelimit/check", json=check, headers=owner).json()["allowed"] is True
        # The edge's own question to the rate limiter; JSON and gRPC calls spend the same.
        last = client.post("/api/v1/shorten", json={"url": "https://example.com/"})
        assert last.status_code == 200
        over = client.post("/api/v1/shorten", json={"url": "https://example.com/"})
        assert over.status_code == 429
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateLink(links.CreateLinkRequest(url="https://example.com/"), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # Creates, what was read of them, and what the edge asked about each.
    least = {"gateway": 5, "ratelimiter": 8} if hot else {}
    for name in where:
        grown = came_by_hot_port(mesh_by, name) - before[name]
        assert grown >= least[name] if hot else grown == 0, name
