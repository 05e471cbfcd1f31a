"""Headers that only the edge or the mesh itself may set, forged in every form: nobody becomes anybody else by them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from tests.e2e.api import Api, calling_from, info, status_of_json
from tests.e2e.attacks import (
    CHECK,
    GET_CALLER,
    Answer,
    Headers,
    Way,
    address_of,
    answer_of,
    assert_denied,
    assert_unauthenticated,
    edge_client,
    grpc_way,
    json_way,
    key_with,
    own_channel,
    request_of,
    ways_into,
)
from tests.e2e.conftest import STRICT_LIMIT
from tests.support.mesh import Mesh
from waypost.access.identity import Role
from waypost.api.v1.role_pb2 import ROLE_VIEWER

SHOP = {"domain": "shop", "descriptors": [{"entries": [{"key": "probe", "value": "x"}]}]}
OWN = {
    "domain": "waypost",
    "descriptors": [{"entries": [{"key": "route_class", "value": "create"}, {"key": "remote_address", "value": "x"}]}],
}

# In HTTP/2 and gRPC names are in lower case.
EDGE_FORGED: list[Headers] = [
    [],
    [("x-waypost-edge", "")],
    [("x-waypost-edge", "0")],
    [("x-waypost-edge", "false")],
    [("x-waypost-edge", "1"), ("x-waypost-edge", "0")],
    [("x-waypost-edge", ""), ("x-waypost-edge", "")],
    [("x-waypost-inside", "1")],
    [("x-waypost-mesh", "1"), ("x-waypost-principal", "mesh")],
    [("x-user-id", "mesh"), ("x-user-role", "operator")],
    [("x-forwarded-for", "127.0.0.1")],
    [("x-envoy-internal", "true"), ("x-envoy-downstream-service-cluster", "gateway")],
    [("x-envoy-external-address", "127.0.0.1"), ("x-envoy-peer-metadata", "x")],
    [("x-envoy-original-path", "/api/v1/ratelimit/check")],
]
HTTP1_FORGED: list[list[tuple[str, str]]] = [
    [("X-Waypost-Edge", "")],
    [("X-WAYPOST-EDGE", "0"), ("x-Waypost-edge", "")],
    # What Connection names is taken out on the way: not what the edge says afterwards.
    [("Connection", "x-waypost-edge")],
    [("Connection", "close, X-Waypost-Edge, x-forwarded-proto"), ("X-Waypost-Edge", "1")],
    [("Connection", "keep-alive, x-forwarded-for")],
    [("Connection", "upgrade, http2-settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")],
    [("TE", "x-waypost-edge")],
    [("Keep-Alive", "x-waypost-edge")],
    [("Trailer", "x-waypost-edge")],
]


@pytest.fixture(scope="module")
def edge(besieged: Mesh) -> Iterator[dict[str, Way]]:
    """Every way through the edge, without credentials."""
    with ways_into(besieged) as ways:
        del ways["the gateway's port"]
        yield ways


def check(way: Way, headers: Headers, body: dict[str, Any]) -> Answer:
    return way(CHECK, request_of(CHECK, **body), headers)


@pytest.mark.parametrize("forged", EDGE_FORGED, ids=str)
def test_nobody_outside_is_inside(besieged: Mesh, edge: dict[str, Way], forged: Headers) -> None:
    viewer, owner = key_with(besieged, Role.VIEWER), besieged.key_blocking()
    for call in edge.values():
        for body in (SHOP, OWN):
            assert_unauthenticated(check(call, forged, body))
            assert_denied(check(call, [*forged, ("x-api-key", viewer)], body))
        # Not even who may check limits spends the mesh's own.
        refused = check(call, [*forged, ("x-api-key", owner)], OWN)
        assert (refused.code, "inside the mesh" in refused.message) == (3, True), refused
        assert check(call, [*forged, ("x-api-key", owner)], SHOP).well


@pytest.mark.parametrize("forged", HTTP1_FORGED, ids=str)
def test_nobody_outside_is_inside_by_the_tricks_of_http_1(besieged: Mesh, forged: list[tuple[str, str]]) -> None:
    owner = besieged.key_blocking()
    with edge_client(besieged) as client:

        def post(body: dict[str, Any], *more: tuple[str, str]) -> httpx.Response:
            return client.post("/api/v1/ratelimit/check", json=body, headers=[*forged, *more])

        for body in (SHOP, OWN):
            response = post(body)
            # Some of it is no request at all to the edge.
            assert response.status_code in (400, 401), response.text
        response = post(OWN, ("x-api-key", owner))
        assert response.status_code == 400, response.text
        assert "allowed" not in response.json()


@pytest.mark.parametrize(
    "domain", ["waypost", "Waypost", "WAYPOST", " waypost", "waypost ", "waypost\n", "waypost.", "wаypost", ""]
)
def test_the_domain_of_the_mesh_has_one_name(besieged: Mesh, edge: dict[str, Way], domain: str) -> None:
    """However it is written, nothing of it is spent: another name is another domain, which has no rules."""
    owner = besieged.key_blocking()
    for call in edge.values():
        answer = check(call, [("x-api-key", owner)], OWN | {"domain": domain})
        if answer.well:
            assert domain not in ("waypost", "")
            allowed = answer.body["statuses"] if isinstance(answer.body, dict) else list(answer.body.statuses)
            assert all((one["rule"] if isinstance(one, dict) else one.rule) == "" for one in allowed), answer
        else:
            assert answer.code == 3, answer


def test_whoever_is_inside_by_the_port_is_outside_by_the_header(besieged: Mesh) -> None:
    """On the limiter's own port: what the edge says of a call counts against it alone."""
    with own_channel(address_of(besieged, "ratelimiter_control")) as channel:
        call = grpc_way(channel)
        assert check(call, [], SHOP).well
        for value in ("1", "0", ""):
            assert_unauthenticated(check(call, [("x-waypost-edge", value)], SHOP))
            refused = check(call, [("x-waypost-edge", value), ("x-api-key", besieged.key_blocking())], OWN)
            assert refused.code == 3
    # The gateway's methods ask for credentials, wherever the call comes from.
    with own_channel(address_of(besieged, "gateway_control")) as channel:
        for method in ("KeyService/ListKeys", "AbuseService/ListReports", "MemberService/ListMembers"):
            name = f"/waypost.api.v1.{method}"
            assert_unauthenticated(grpc_way(channel)(name, request_of(name), []))
    with own_channel(address_of(besieged, "workers_control")) as channel:
        name = "/waypost.api.v1.JobService/ListJobs"
        assert_unauthenticated(grpc_way(channel)(name, request_of(name), []))
        owner = grpc_way(channel)(name, request_of(name), [("x-api-key", besieged.key_blocking())])
        assert_denied(owner)


WHO = [
    ("x-user-id", "someone"),
    ("x-user-role", "operator"),
    ("x-user", "root"),
    ("x-waypost-workspace", "01234567-89ab-4cde-8f01-23456789abcd"),
    ("x-waypost-principal", "key:other"),
    ("x-waypost-role", "operator"),
    ("x-waypost-scopes", "abuse:manage"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-email", "root@example.com"),
    ("x-forwarded-client-cert", "By=spiffe://mesh/gateway;Subject=CN=gateway"),
    ("x-remote-user", "root"),
    ("remote-user", "root"),
    ("x-auth-request-user", "root"),
    ("x-jwt-payload", "eyJzdWIiOiJvcGVyYXRvci1ieS10b2tlbiJ9"),
    ("x-endpoint-api-userinfo", "eyJzdWIiOiJvcGVyYXRvci1ieS10b2tlbiJ9"),
    ("x-original-user", "root"),
    ("x-http-method-override", "DELETE"),
    ("x-original-url", "/api/v1/keys"),
    ("x-rewrite-url", "/api/v1/keys"),
    ("x-envoy-original-method", "DELETE"),
]


def test_what_is_said_of_the_caller_in_headers_is_said_in_vain(besieged: Mesh, edge: dict[str, Way]) -> None:
    key = key_with(besieged, Role.VIEWER)
    for name, call in edge.items():
        plain = call(GET_CALLER, request_of(GET_CALLER), [("x-api-key", key)])
        assert plain.well
        for header in WHO:
            answer = call(GET_CALLER, request_of(GET_CALLER), [header, ("x-api-key", key)])
            assert (answer.code, str(answer.body)) == (0, str(plain.body)), (name, header)
        nobody = call(GET_CALLER, request_of(GET_CALLER), WHO)
        assert nobody.well
        assert "anonymous" in str(nobody.body)
        assert_unauthenticated(
            call("/waypost.api.v1.KeyService/ListKeys", request_of("/waypost.api.v1.KeyService/ListKeys"), WHO)
        )


ADDRESSES: list[Headers] = [
    [("x-forwarded-for", "192.0.2.66")],
    [("x-forwarded-for", "192.0.2.66, 192.0.2.67")],
    [("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "192.0.2.67")],
    [("x-forwarded-for", "")],
    [("x-forwarded-for", ",,,")],
    [("x-forwarded-for", "localhost")],
    [("x-forwarded-for", "[::1]:80")],
    [("x-forwarded-for", "2001:db8::1")],
    [("x-forwarded-for", "::ffff:192.0.2.66")],
    [("x-forwarded-for", "192.0.2.66%eth0")],
    [("x-forwarded-for", "unknown, 192.0.2.66:1234")],
    [("x-forwarded-for", "x" * 4000)],
    [("x-real-ip", "192.0.2.66")],
    [("forwarded", "for=192.0.2.66;proto=https;by=192.0.2.67")],
    [("forwarded", 'for="[2001:db8::1]"')],
    [("true-client-ip", "192.0.2.66")],
    [("cf-connecting-ip", "192.0.2.66")],
    [("x-client-ip", "192.0.2.66")],
    [("x-cluster-client-ip", "192.0.2.66")],
    [("x-envoy-external-address", "192.0.2.66")],
    [("x-original-forwarded-for", "192.0.2.66")],
    [("x-forwarded", "192.0.2.66"), ("via", "192.0.2.66")],
]


def test_whoever_changes_something_is_written_down_with_their_own_address(besieged: Mesh, edge: dict[str, Way]) -> None:
    """The audit log tells it: whatever they say, they are where they are."""
    add, log = "/waypost.api.v1.MemberService/AddMember", "/waypost.api.v1.AuditService/ListAuditEvents"
    key = besieged.key_blocking()
    made = set()
    for call in edge.values():
        for forged in ADDRESSES:
            made.add(subject := f"member-{secrets.token_hex(6)}")
            request = request_of(add, subject=subject, role=ROLE_VIEWER)
            assert call(add, request, [*forged, ("x-api-key", key)]).well, forged
    with edge_client(besieged) as client:
        answer = json_way(client)(
            log, request_of(log, action="member.add", page_size=1000), [("x-api-key", besieged.operator_key)]
        )
    events = [event for event in answer.body["events"] if event["object"] in made]
    assert len(events) == len(made)
    assert {event["address"] for event in events} == {"127.0.0.1"}


def test_a_limit_by_address_is_not_escaped_by_any_form_of_address(strict: Mesh) -> None:
    """One address in all: every form brings as little as none."""
    with calling_from("127.0.0.81", strict) as client:
        answers = []
        for forged in [*ADDRESSES, [("connection", "x-forwarded-for")], [("X-Waypost-Edge", "")]]:
            answers.append(client.post("/api/v1/shorten", json={"url": "https://a.example/"}, headers=list(forged)))
    codes = [answer.status_code for answer in answers if answer.status_code != 400]
    assert codes == [200] * STRICT_LIMIT + [429] * (len(codes) - STRICT_LIMIT)
    assert len(codes) > 2 * STRICT_LIMIT
    assert info(status_of_json(answers[STRICT_LIMIT], 429)).reason == "ERROR_REASON_RATE_LIMITED"


def test_a_workspace_is_named_once_and_rightly(besieged: Mesh, edge: dict[str, Way]) -> None:
    """`x-workspace` is the one header by which callers may choose; a key that is no operator's has one workspace."""
    owner, operator = besieged.key_blocking(), besieged.operator_key
    method = "/waypost.api.v1.WorkspaceService/GetWorkspace"
    default = "00000000-0000-0000-0000-000000000001"
    for call in edge.values():

        def ask(key: str, *names: str, call: Way = call) -> Answer:
            return call(method, request_of(method), [("x-api-key", key), *(("x-workspace", name) for name in names)])

        assert ask(owner, default).well
        assert ask(owner, "01234567-89ab-4cde-8f01-23456789abcd").code == grpc.StatusCode.NOT_FOUND.value[0]
        assert ask(operator, "01234567-89ab-4cde-8f01-23456789abcd").code == grpc.StatusCode.NOT_FOUND.value[0]
        for odd in (
            "default", "*", "0", default[:-1], default + "0", f"{{{default}}}", default.replace("-", ""), "' OR 1=1",
            f"urn:uuid:{default}"[:36], default[:-1] + "g", f"{default},{default}",
        ):  # fmt: skip
            for key in (owner, operator):
                answer = ask(key, odd)
                assert answer.code == 3, (odd, answer)
                assert "x-workspace" in answer.message
        assert ask(operator, default, "01234567-89ab-4cde-8f01-23456789abcd").code == 3


def test_a_path_that_means_another_is_not_another(besieged: Mesh) -> None:
    """Whatever is done to a path, nobody reaches by it what they do not reach straight."""
    with edge_client(besieged) as client:
        api = Api(besieged, client)
        for path in (
            "/api/v1/keys", "//api/v1/keys", "/api//v1/keys", "/api/v1/./keys", "/x/../api/v1/keys", "/api/v1/keys/",
            "/api/v1/%6beys", "/API/V1/KEYS", "/api/v1/keys;x=1", "/api/v1/keys%00", "/api/v1/keys#x", "/api/v1/keys?x",
            "/api/v1/urls/..%2fkeys", "/api/v1/urls/%2e%2e/keys", "/api%2fv1%2fkeys", "/api\\v1\\keys",
            "/waypost.api.v1.KeyService/ListKeys", "/waypost.api.v1.JobService/ListJobs", "/metrics", "/ready",
            "/health", "/grpc.health.v1.Health/Check", "/config_dump", "/.env", "/logs/gateway.log",
            "/..%2f..%2fetc/passwd",
        ):  # fmt: skip
            data = api.raw(f"GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".encode())
            status = int(data.split(b" ", 2)[1])
            assert status in (400, 401, 403, 404, 405, 415), (path, data)
        assert answer_of(client.get("/api/v1/keys")).code == 16
