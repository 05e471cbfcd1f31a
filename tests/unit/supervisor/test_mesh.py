"""The processes that a machine's settings describe."""

import json
from pathlib import Path

import pytest
import yaml

import native
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.envoy import command, descriptor_set_path, find_envoy
from waypost.supervisor.mesh import mesh_of
from waypost.supervisor.settings import SupervisorSettings

DATABASE = {"WAYPOST_DATABASE_URL": "postgresql://me:secret@db/waypost"}


def test_a_mesh_is_three_services_and_envoy_on_the_ports_of_the_settings(tmp_path: Path) -> None:
    env = {**DATABASE, "WAYPOST_HTTP_PORT": "18080", "WAYPOST_GATEWAY_WEB_PORT": "15071", "PATH": "/bin"}
    data = DataDir(tmp_path)
    data.prepare()
    mesh = mesh_of(SupervisorSettings.from_env(env), env, data)
    assert mesh.database is None
    programs = {program.name: program for program in mesh.programs()}
    assert list(programs) == ["gateway", "ratelimiter", "workers", "envoy"]
    assert programs["gateway"].env["WAYPOST_DATABASE_URL"] == DATABASE["WAYPOST_DATABASE_URL"]
    assert "secret" not in json.dumps(dict(programs["envoy"].env))
    pepper = data.key_pepper.read_text().strip()
    for name in ("gateway", "ratelimiter", "workers"):
        assert programs[name].env["WAYPOST_KEY_PEPPER"] == pepper
    assert pepper not in json.dumps(dict(programs["envoy"].env))
    config = (data.envoy / "envoy.yaml").read_text()
    assert "port_value: 18080" in config
    assert "port_value: 15071" in config
    assert str(descriptor_set_path()) in config
    expected = command(find_envoy(), data.envoy / "envoy.yaml", concurrency=1, drain_seconds=10)
    assert list(programs["envoy"].argv) == expected
    # Envoy first, the database (not here) last.
    assert [programs[name].stage for name in ("envoy", "gateway", "ratelimiter", "workers")] == [0, 1, 2, 2]


def test_the_default_mesh_brings_its_database(tmp_path: Path) -> None:
    mesh = mesh_of(SupervisorSettings(), {}, DataDir(tmp_path / "data"))
    assert mesh.database is not None
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("hot", ["true", "false"])
def test_envoy_and_people_are_told_where_calls_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hot: str) -> None:
    monkeypatch.setattr(native, "HOT_PORT", True)
    env = {**DATABASE, "WAYPOST_HOT_PORTS": hot, "WAYPOST_GATEWAY_HOT_PORT": "16001", "WAYPOST_HOT_HOST": "::1"}
    data = DataDir(tmp_path)
    data.prepare()
    programs = {one.name: one for one in mesh_of(SupervisorSettings.from_env(env), env, data).programs()}
    clusters = yaml.safe_load((data.envoy / "envoy.yaml").read_text())["static_resources"]["clusters"]
    found = {
        one["name"]: one["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        for one in clusters
    }
    where = {name: (address["address"], address["port_value"]) for name, address in found.items()}
    limiter = ("::1", 50062) if hot == "true" else ("127.0.0.1", 50052)
    assert where == {
        "gateway": ("::1", 16001) if hot == "true" else ("127.0.0.1", 50051),
        "ratelimiter": limiter,
        "limits": limiter,
        "gateway_web": ("127.0.0.1", 50071),
    }
    assert programs["workers"].address == "grpc 50053, health 9103"
    assert ("hot 16001" in programs["gateway"].address) is (hot == "true")
    assert ("hot 50062" in programs["ratelimiter"].address) is (hot == "true")
