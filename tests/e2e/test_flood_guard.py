"""Floods from one address are stopped at the edge, scans of codes in the gateway, and everybody else does not notice.

Also where the rate limiter is gone or frozen: then nobody is refused, and nobody waits for it for long.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2

from tests.e2e.api import calling_from, channel, detail, info, status_of_json, status_of_rpc
from tests.e2e.conftest import ENV
from tests.e2e.shell import FAILED, one_line, waypost
from tests.e2e.storms import eventually
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh, mesh_running
from tests.support.structured_fields import told_limit
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

READS, CREATES, UNKNOWN = 6, 3, 20
HOUR = 3600
ADDRESS = "masked_remote_address"
RULES = f"""
domain: waypost
descriptors:
  - key: route_class
    value: read
    descriptors:
      - key: {ADDRESS}
        rate_limit:
          {{algorithm: token_bucket, unit: hour, requests_per_unit: {READS}, consistency: local}}
  - key: route_class
    value: create
    descriptors:
      - key: principal
        rate_limit: {{algorithm: token_bucket, unit: hour, requests_per_unit: {CREATES}}}
"""
PROBLEM = {"accept": "application/problem+json"}
BROWSER = {"accept": "text/html"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with small limits; tests call it from addresses of their own."""
    small = {"WAYPOST_GATEWAY_UNKNOWN_CODES_PER_MINUTE": str(UNKNOWN)}
    with mesh_running(env=ENV | rules(tmp_path_factory) | small) as mesh:
        yield mesh


@pytest.fixture
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with the same rules that waits for the rate limiter no longer than it does by itself."""
    with mesh_running(env=rules(tmp_path_factory) | {"WAYPOST_GATEWAY_LOCAL_READS_PER_MINUTE": "100000"}) as mesh:
        yield mesh


def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "small.yaml").write_text(RULES)
    return {"WAYPOST_LIMITS_DIR": str(folder)}


def read(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.get("/api/v1/urls/nothing", headers=headers)


def new_link(client: httpx.Client, mesh: Mesh) -> str:
    """The code of a link that a new key has made."""
    response = client.post(
        "/api/v1/shorten", json={"url": "https://a.example/"}, headers=headers_of(mesh.key_blocking())
    )
    assert response.status_code == 200, response.text
    return str(response.json()["short_code"])


def check_headers(response: httpx.Response, rule: str, limit: int) -> None:
    """That an answer tells the limit in both forms, each header once, and when to come back."""
    name, *told = told_limit(response.headers)
    assert (name, told[:3]) == (rule, [limit, HOUR, 0])
    assert 0 < int(response.headers["retry-after"]) <= HOUR / limit
    for header in ("retry-after", "x-ratelimit-limit", "ratelimit", "ratelimit-policy", "x-correlation-id"):
        assert len(response.headers.get_list(header)) == 1


def texts_of(error: Any) -> list[tuple[str, str]]:
    """The metadata of a refused call, without what is binary."""
    return [(name, value) for name, value in error.trailing_metadata() if isinstance(value, str)]


# The edge


def test_one_address_is_stopped_at_the_edge_whoever_calls_from_it(guarded: Mesh) -> None:
    rule = f"waypost.route_class_read.{ADDRESS}"
    owner = headers_of(guarded.key_blocking())
    with calling_from("127.0.0.31", guarded) as client:
        code = new_link(client, guarded)
        # Also calls that come to nothing, before anybody looks at their credentials.
        credentials = [{}, owner, {"x-api-key": "wp_nonsense"}] * (READS // 3)
        assert [read(client, **one).status_code for one in credentials] == [401, 404, 401] * (READS // 3)
        for one in ({}, owner):
            refused = read(client, **one)
            status = status_of_json(refused, 429)
            assert (status.code, info(status).reason) == (8, "ERROR_REASON_RATE_LIMITED")
            assert info(status).metadata["limit"] == ADDRESS
            delay = detail(status, error_details_pb2.RetryInfo).retry_delay.seconds
            assert refused.headers["retry-after"] == str(delay)
            (violation,) = detail(status, error_details_pb2.QuotaFailure).violations
            assert violation.subject == ADDRESS
            check_headers(refused, rule, READS)
        problem = read(client, **PROBLEM)
        assert (problem.status_code, problem.headers["content-type"]) == (429, "application/problem+json")
        assert (problem.json()["status"], problem.json()["reason"]) == (429, "ERROR_REASON_RATE_LIMITED")
        check_headers(problem, rule, READS)

        # Calls of another class, redirects, pages and health go on.
        new_link(client, guarded)
        assert client.get(f"/{code}").status_code == 302
        for path in ("/healthz", "/readyz", "/", "/docs", f"/{code}+"):
            assert {client.get(path).status_code for _ in range(READS * 2)} == {200}
    with calling_from("127.0.0.32", guarded) as client:
        assert read(client).status_code == 401


def test_forged_addresses_bring_nothing(guarded: Mesh) -> None:
    with calling_from("127.0.0.33", guarded) as client:
        answers = [read(client, **{"x-forwarded-for": f"192.0.2.{number}"}) for number in range(READS + 1)]
    assert [answer.status_code for answer in answers] == [401] * READS + [429]


def test_grpc_callers_are_told_too(guarded: Mesh) -> None:
    # gRPC clients cannot choose the address they call from: this is 127.0.0.1, from which no other test here reads.
    with channel(guarded, "http") as edge:
        stub = LinkServiceStub(edge)
        request = links.ResolveLinkRequest(short_code="nothing")
        assert {stub.ResolveLink(request, timeout=10).http_status for _ in range(READS)} == {404}
        with pytest.raises(grpc.RpcError) as caught:
            stub.ResolveLink(request, timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = status_of_rpc(caught.value)
    assert (info(status).reason, info(status).metadata["limit"]) == ("ERROR_REASON_RATE_LIMITED", ADDRESS)
    trailers = dict(texts_of(caught.value))
    assert told_limit(trailers)[0] == f"waypost.route_class_read.{ADDRESS}"
    assert 0 < int(trailers["retry-after"]) <= HOUR / READS
    env = {**guarded.env, "WAYPOST_DATA_DIR": "/nowhere", "WAYPOST_API_KEY": guarded.key_blocking()}
    assert "too many requests from your address" in one_line(waypost(env, "links", "get", "nothing"), FAILED)


# The gateway


def test_what_the_gateway_refuses_tells_the_callers_own_limit(guarded: Mesh) -> None:
    rule = "waypost.route_class_create.principal"
    key = guarded.key_blocking()
    body = {"url": "https://a.example/"}
    with calling_from("127.0.0.34", guarded) as client:
        for _ in range(CREATES):
            assert client.post("/api/v1/shorten", json=body, headers=headers_of(key)).status_code == 200
        for more in ({}, PROBLEM):
            refused = client.post("/api/v1/shorten", json=body, headers=headers_of(key) | more)
            assert refused.status_code == 429
            assert refused.json()["details"][0]["metadata"] == {"limit": rule}
            check_headers(refused, rule, CREATES)
        # What asks for more at once than there ever is, is told of no time to come back.
        never = client.post("/api/v1/shorten:batch", json={"requests": [body] * 9}, headers=headers_of(key))
        assert never.status_code == 429
        assert "retry-after" not in never.headers
        assert told_limit(never.headers)[:4] == (rule, CREATES, HOUR, 0)
    for port in ("http", "gateway_control"):
        with channel(guarded, port, key) as way, pytest.raises(grpc.RpcError) as caught:
            LinkServiceStub(way).CreateLink(links.CreateLinkRequest(url="https://a.example/"), timeout=10)
        trailers = texts_of(caught.value)
        assert told_limit(dict(trailers))[:4] == (rule, CREATES, HOUR, 0)
        assert [name for name, _ in trailers].count("retry-after") == 1


# Unknown codes


def look_ups(mesh: Mesh) -> float:
    """How often the gateway has asked the database for a code."""
    url = f"http://127.0.0.1:{mesh.ports['gateway_metrics']}/metrics"
    text = httpx.get(url, trust_env=False).text
    found = re.search(r'^cache_requests_total\{result="miss"\} (\S+)$', text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def scan(client: httpx.Client, number: int) -> list[int]:
    return [client.get(f"/{secrets.token_hex(4)}").status_code for _ in range(number)]


def test_a_scan_of_codes_is_throttled_without_asking_the_database(guarded: Mesh) -> None:
    with calling_from("127.0.0.41", guarded) as client, calling_from("127.0.0.42", guarded) as other:
        cached, fresh = new_link(client, guarded), new_link(other, guarded)
        assert client.get(f"/{cached}").status_code == 302
        before = look_ups(guarded)
        answers = scan(client, 1000)
        admitted = answers.count(404)
        assert admitted + answers.count(429) == 1000
        assert UNKNOWN <= admitted < 500
        assert answers[:UNKNOWN] == [404] * UNKNOWN
        assert look_ups(guarded) - before == admitted

        # Until the next one is admitted, every few seconds.
        refused = next(r for r in iter(lambda: client.get(f"/{secrets.token_hex(4)}"), None) if r.status_code == 429)
        assert info(status_of_json(refused, 429)).metadata["limit"] == "unknown_codes"
        assert told_limit(refused.headers)[:4] == ("unknown_codes", UNKNOWN, 60, 0)
        assert 1 <= int(refused.headers["retry-after"]) <= 60 / UNKNOWN
        assert {client.get(f"/{cached}").status_code for _ in range(50)} == {302}
        assert other.get(f"/{fresh}").status_code == 302
        assert scan(other, 2) == [404, 404]
        assert client.get("/readyz").status_code == 200


def test_scans_by_other_ways_are_the_same_scan(guarded: Mesh) -> None:
    with calling_from("127.0.0.43", guarded) as client, channel(guarded, "gateway_control") as direct:
        assert {client.get(f"/{secrets.token_hex(4)}+").status_code for _ in range(UNKNOWN)} == {404}
        assert 429 in [client.get(f"/{secrets.token_hex(4)}+", headers=BROWSER).status_code for _ in range(20)]

        with pytest.raises(grpc.RpcError) as caught:
            for _ in range(20):
                request = links.ResolveLinkRequest(short_code=secrets.token_hex(4))
                # As the edge would say whom it calls for.
                LinkServiceStub(direct).ResolveLink(request, timeout=10, metadata=(("x-forwarded-for", "127.0.0.43"),))
        assert info(status_of_rpc(caught.value)).metadata["limit"] == "unknown_codes"


# Without the rate limiter


def edge_stat(mesh: Mesh, name: str) -> int:
    url = f"http://127.0.0.1:{mesh.ports['envoy_admin']}/stats"
    text = httpx.get(url, params={"filter": f"^{name}$"}, trust_env=False).text
    return int(text.rpartition(":")[2] or 0)


def goes_on(mesh: Mesh, client: httpx.Client, code: str, number: int = 200) -> None:
    """Reads and redirects by one address, far more than its limit, all served."""
    owner = headers_of(mesh.key_blocking())
    for _ in range(number):
        response = client.get(f"/api/v1/urls/{code}", headers=owner)
        assert response.status_code == 200, response.text
        assert client.get(f"/{code}").status_code == 302


def guards(client: httpx.Client) -> bool:
    return read(client).status_code == 429


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_without_the_rate_limiter_everything_goes_on(impatient: Mesh, number: signal.Signals) -> None:
    with calling_from("127.0.0.51", impatient) as client:
        code = new_link(client, impatient)
        eventually(lambda: guards(client))
        waits = edge_stat(impatient, "cluster.limits.upstream_rq_timeout")
        pid = impatient.kill("ratelimiter", number)
        try:
            if number is signal.SIGSTOP:
                goes_on(impatient, client, code)
                # It was asked in vain a few times, and then left alone: not each call has waited for it.
                assert edge_stat(impatient, "cluster.limits.upstream_rq_timeout") - waits <= 50
            else:
                # It is soon back, and counts from zero.
                assert client.get(f"/{code}").status_code == 302
                assert read(client).status_code == 401
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        eventually(lambda: guards(client))
        assert client.get(f"/{code}").status_code == 302
