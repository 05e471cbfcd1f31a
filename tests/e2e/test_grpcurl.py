"""Operators with grpcurl: every service lists, describes and answers; nothing of that can be reached from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.api import Api, fresh_alias
from tests.e2e.shell import shell
from tests.support.mesh import Mesh
from tests.support.missing import program

ROOT = Path(__file__).resolve().parents[2]

GATEWAY = {
    "LinkService": "CreateLink BatchCreateLinks GetLink ListLinks UpdateLink DeleteLink UndeleteLink ResolveLink",
    "WorkspaceService": "CreateWorkspace ListWorkspaces GetWorkspace UpdateWorkspace GetCaller",
    "MemberService": "AddMember ListMembers UpdateMember RemoveMember",
    "KeyService": "CreateKey ListKeys GetKey RevokeKey",
    "AuditService": "ListAuditEvents",
    "AbuseService": "ReportLink ListReports CloseReport BlockLink UnblockLink ListBlockedLinks",
}
OWN = {
    "gateway": {service: set(methods.split()) for service, methods in GATEWAY.items()},
    "ratelimiter": {
        "RateLimitService": {"Check", "BatchCheck", "Reset", "Explain", "ListRules"},
        "LimitOverrideService": {"SetOverride", "ListOverrides", "DeleteOverride"},
    },
    "workers": {"JobService": {"ListJobs"}},
}
# Not ours, but served by its own name.
OTHERS = {"ratelimiter": {"envoy.service.ratelimit.v3.RateLimitService"}}
COMMON = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
PACKAGE = "waypost.api.v1"


def grpcurl(mesh: Mesh, port: str, *arguments: str, options: tuple[str, ...] = (), key: str = "") -> tuple[int, str]:
    """Exit code and output of `grpcurl [options] HOST:PORT [arguments]`, with an API key if one is given."""
    options = ("-H", f"x-api-key: {key}", *options) if key else options
    command = [
        str(program("grpcurl")),
        "-plaintext",
        "-max-time",
        "10",
        *options,
        f"127.0.0.1:{mesh.ports[port]}",
        *arguments,
    ]
    code, output, errors = shell(command, mesh.env, ROOT)
    return code, output + errors


@pytest.mark.parametrize("process", OWN)
def test_list(mesh: Mesh, process: str) -> None:
    code, said = grpcurl(mesh, f"{process}_control", "list")
    own = {f"{PACKAGE}.{name}" for name in OWN[process]}
    assert (code, set(said.split())) == (0, COMMON | own | OTHERS.get(process, set()))


@pytest.mark.parametrize("process", OWN)
def test_list_and_describe_each_method(mesh: Mesh, process: str) -> None:
    port = f"{process}_control"
    for service, methods in OWN[process].items():
        code, said = grpcurl(mesh, port, "list", f"{PACKAGE}.{service}")
        assert (code, set(said.split())) == (0, {f"{PACKAGE}.{service}.{method}" for method in methods})
        code, said = grpcurl(mesh, port, "describe", f"{PACKAGE}.{service}")
        assert code == 0
        assert all(f"rpc {method} (" in said for method in methods)
        for method in methods:
            code, said = grpcurl(mesh, port, "describe", f"{PACKAGE}.{service}.{method}")
            assert (code, f"rpc {method} ( .{PACKAGE}.{method}Request )" in said) == (0, True)
            code, said = grpcurl(mesh, port, "describe", f"{PACKAGE}.{method}Request")
            assert (code, f"message {method}Request " in said) == (0, True)


@pytest.mark.parametrize("process", OWN)
def test_health(mesh: Mesh, process: str) -> None:
    port = f"{process}_control"
    for name in ("", *(f"{PACKAGE}.{service}" for service in OWN[process]), *OTHERS.get(process, ())):
        options = ("-d", json.dumps({"service": name}))
        code, said = grpcurl(mesh, port, "grpc.health.v1.Health/Check", options=options)
        assert (code, json.loads(said)) == (0, {"status": "SERVING"})
    # The health protocol has a code of its own for names that nobody knows, and kubelet goes by it.
    options = ("-d", json.dumps({"service": "nobody"}))
    code, said = grpcurl(mesh, port, "grpc.health.v1.Health/Check", options=options)
    assert (code != 0, "Code: NotFound" in said) == (True, True)


def test_calls(api: Api, owner_key: str) -> None:
    def delete(key: str = "") -> tuple[int, str]:
        return grpcurl(api.mesh, "gateway_control", f"{PACKAGE}.LinkService/DeleteLink", options=by_code, key=key)

    def jobs(key: str = "") -> tuple[int, str]:
        return grpcurl(api.mesh, "workers_control", f"{PACKAGE}.JobService/ListJobs", key=key)

    alias = fresh_alias()
    create = json.dumps({"url": "https://a.example/?é", "alias": alias, "ttl_seconds": 60})
    code, said = grpcurl(api.mesh, "gateway_control", f"{PACKAGE}.LinkService/CreateLink", options=("-d", create))
    # Like the JSON of the edge, but without what is empty.
    assert (code, json.loads(said)) == (
        0,
        {name: value for name, value in api.link(alias).items() if value not in ([], "", 0, False)},
    )
    by_code = ("-d", json.dumps({"short_code": alias}))
    code, said = grpcurl(api.mesh, "gateway_control", f"{PACKAGE}.LinkService/ResolveLink", options=by_code)
    assert (code, json.loads(said)["location"]) == (0, "https://a.example/?%C3%A9")
    code, said = delete()
    assert (code != 0, "Code: Unauthenticated" in said, "x-api-key" in said) == (True, True, True)
    code, said = delete(owner_key)
    assert (code, json.loads(said)["state"]) == (0, "LINK_STATE_DELETED")
    code, said = jobs(owner_key)
    assert (code != 0, "Code: PermissionDenied" in said, "mesh:read" in said) == (True, True, True)
    code, said = jobs(api.mesh.operator_key)
    assert (code, [job["name"] for job in json.loads(said)["jobs"]]) == (0, ["answer_sweep", "expiry_sweep"])
    check = json.dumps({"domain": "waypost", "descriptors": [{"entries": [{"key": "nobody", "value": "knows"}]}]})
    code, said = grpcurl(api.mesh, "ratelimiter_control", f"{PACKAGE}.RateLimitService/Check", options=("-d", check))
    assert (code, json.loads(said)) == (0, {"allowed": True, "statuses": [{"allowed": True}]})


def test_errors_are_shown_with_their_details(mesh: Mesh) -> None:
    options = ("-d", '{"url": "javascript:x", "alias": "x"}')
    code, said = grpcurl(mesh, "gateway_control", f"{PACKAGE}.LinkService/CreateLink", options=options)
    assert code != 0
    assert "Code: InvalidArgument" in said
    assert '"field":"url"' in said
    assert '"field":"alias"' in said
    assert "ERROR_REASON_INVALID_FIELD" in said


def test_reflection_health_and_jobs_are_not_reached_from_outside(mesh: Mesh) -> None:
    code, said = grpcurl(mesh, "http", "list")
    assert (code != 0, "does not support the reflection API" in said) == (True, True)
    for service in ("grpc.health.v1.Health/Check", f"{PACKAGE}.JobService/ListJobs"):
        # What it looks like is known from the control port; the call itself goes to the edge.
        owner = "workers_control"
        described = mesh.data / f"{service.rpartition('/')[0]}.protoset"
        grpcurl(mesh, owner, "describe", service.rpartition("/")[0], options=("-protoset-out", str(described)))
        code, said = grpcurl(mesh, "http", service, options=("-protoset", str(described)))
        assert (code != 0, "Code: Unimplemented" in said) == (True, True)


def test_through_the_edge_with_the_descriptor_set(api: Api) -> None:
    options = ("-protoset", "envoy/waypost.pb", "-d", '{"url": "https://a.example/"}')
    code, said = grpcurl(api.mesh, "http", f"{PACKAGE}.LinkService/CreateLink", options=options)
    assert code == 0
    # The set gives fields their camel case names, which reflection leaves out.
    assert api.link(json.loads(said)["shortCode"])["original_url"] == "https://a.example/"
