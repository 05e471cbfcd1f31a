"""Over the limit: refused with the time to come back, each caller for itself, and nobody talks his way around it.

Who has no credentials is known by the address, everybody else by the key.
"""

from __future__ import annotations

import math

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2

from tests.e2e.api import calling_from, channel, detail, info, status_of_json, status_of_rpc
from tests.e2e.conftest import STRICT_LIMIT
from tests.e2e.shell import FAILED, one_line, waypost
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

RULE = "waypost.route_class_create.remote_address"
KEY_RULE = "waypost.route_class_create.principal"
HOUR = 3600


def create(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.post("/api/v1/shorten", json={"url": "https://a.example/"}, headers=headers)


def test_a_burst_over_the_limit(strict: Mesh) -> None:
    with calling_from("127.0.0.11", strict) as client:
        answers = [create(client) for _ in range(STRICT_LIMIT + 3)]
        assert [answer.status_code for answer in answers] == [200] * STRICT_LIMIT + [429] * 3
        status = status_of_json(answers[-1], 429)
        assert (status.code, info(status).reason) == (8, "ERROR_REASON_RATE_LIMITED")
        assert info(status).metadata["limit"] == RULE
        (violation,) = detail(status, error_details_pb2.QuotaFailure).violations
        assert violation.subject == RULE
        delay = detail(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds()
        # One comes back every twelve minutes.
        assert 0 < delay <= HOUR / STRICT_LIMIT
        assert answers[-1].headers["retry-after"] == str(math.ceil(delay))

        # Following links goes on, and for their owner reading, changing and deleting them.
        code = answers[0].json()["short_code"]
        assert client.get(f"/{code}").status_code == 302
        owner = headers_of(strict.key_blocking())
        assert client.get(f"/api/v1/urls/{code}", headers=owner).status_code == 200
        assert client.delete(f"/api/v1/urls/{code}", headers=owner).status_code == 200
        # Who has a key is no longer known by the address.
        assert create(client, **owner).status_code == 200
    with calling_from("127.0.0.12", strict) as client:
        assert create(client).status_code == 200


def test_who_is_admitted_is_told_what_is_left_to_it_and_not_to_its_address(strict: Mesh) -> None:
    """Over HTTP too, where no trailers are seen; the edge's guard, which has more left, is not what is told."""
    with calling_from("127.0.0.17", strict) as client:
        answers = [create(client) for _ in range(2)]
    assert [answer.headers.get_list("x-ratelimit-remaining") for answer in answers] == [
        [str(STRICT_LIMIT - 1)],
        [str(STRICT_LIMIT - 2)],
    ]
    (policy,) = answers[0].headers.get_list("ratelimit-policy")
    assert policy.startswith(f'"{RULE}";q={STRICT_LIMIT};')


def test_each_key_has_its_own_budget_wherever_it_is_used(strict: Mesh) -> None:
    first, second = headers_of(strict.key_blocking()), headers_of(strict.key_blocking())
    with calling_from("127.0.0.14", strict) as here, calling_from("127.0.0.15", strict) as there:
        answers = [create(client, **first) for client in [here, there] * STRICT_LIMIT]
        assert [answer.status_code for answer in answers] == [200] * STRICT_LIMIT + [429] * STRICT_LIMIT
        status = status_of_json(answers[-1], 429)
        assert (info(status).reason, info(status).metadata["limit"]) == ("ERROR_REASON_RATE_LIMITED", KEY_RULE)
        assert create(here, **second).status_code == 200
        # Nothing of it was charged to the addresses, and nobody is charged for what others claim to be.
        for client in (here, there):
            assert create(client).status_code == 200


def test_what_is_refused_for_its_fields_counts_too(strict: Mesh) -> None:
    """Else guessing what is allowed would be free."""
    with calling_from("127.0.0.13", strict) as client:
        codes = [
            client.post("/api/v1/shorten", json={"url": "javascript:x"}).status_code for _ in range(STRICT_LIMIT + 1)
        ]
    assert codes == [400] * STRICT_LIMIT + [429]


@pytest.mark.parametrize(
    ("address", "name", "value"),
    [
        ("127.0.0.21", "x-forwarded-for", "192.0.2.{}"),
        ("127.0.0.22", "x-forwarded-for", "192.0.2.{}, 198.51.100.{}, 127.0.0.1"),
        ("127.0.0.23", "x-real-ip", "192.0.2.{}"),
        ("127.0.0.24", "forwarded", "for=192.0.2.{}"),
        ("127.0.0.25", "x-envoy-external-address", "192.0.2.{}"),
        ("127.0.0.26", "x-envoy-original-path", "/192.0.2.{}"),
        ("127.0.0.27", "true-client-ip", "192.0.2.{}"),
    ],
)
def test_a_forged_header_brings_no_new_budget(strict: Mesh, address: str, name: str, value: str) -> None:
    with calling_from(address, strict) as client:
        answers = [create(client, **{name: value.replace("{}", str(number))}) for number in range(STRICT_LIMIT + 1)]
    assert [answer.status_code for answer in answers] == [200] * STRICT_LIMIT + [429]


def test_json_and_grpc_share_one_budget(strict_and_fresh: Mesh) -> None:
    request = links.CreateLinkRequest(url="https://a.example/")
    # gRPC clients cannot choose the address they call from: this is 127.0.0.1, which others may have used.
    with (
        calling_from("127.0.0.1", strict_and_fresh) as client,
        channel(strict_and_fresh, "http") as edge,
        channel(strict_and_fresh, "gateway_control") as direct,
    ):
        assert create(client).status_code == 200
        for _ in range(2):
            LinkServiceStub(edge).CreateLink(request, timeout=10)
            LinkServiceStub(direct).CreateLink(request, timeout=10)
        assert create(client).status_code == 429
        for way in (edge, direct):
            with pytest.raises(grpc.RpcError) as caught:
                LinkServiceStub(way).CreateLink(request, timeout=10)
            status = status_of_rpc(caught.value)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert info(status).reason == "ERROR_REASON_RATE_LIMITED"
            assert detail(status, error_details_pb2.RetryInfo).retry_delay.seconds > 0
    # The command is told the same, where it has no key.
    env = {**strict_and_fresh.env, "WAYPOST_DATA_DIR": "/nowhere"}
    assert RULE in one_line(waypost(env, "links", "create", "https://a.example/"), FAILED)


def test_a_refusal_of_the_limiter_is_an_answer(strict: Mesh) -> None:
    body = {"domain": "shop", "descriptors": [{"entries": [{"key": "probe", "value": "x"}]}]}
    with httpx.Client(base_url=strict.http_url, headers=headers_of(strict.operator_key), trust_env=False) as client:
        answers = [client.post("/api/v1/ratelimit/check", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [answer.json()["allowed"] for answer in answers] == [True, True, False]
    refusal = answers[-1].json()
    (status,) = refusal["statuses"]
    assert (status["allowed"], status["limit"], status["remaining"]) == (False, 2, 0)
    assert status["rule"] == "shop.probe"
    assert 0 < float(refusal["retry_after"].removesuffix("s")) <= HOUR / 2


def test_the_gateway_really_asked_the_limiter(strict: Mesh) -> None:
    with httpx.Client(base_url=strict.http_url, trust_env=False) as client:
        assert client.get("/readyz").json()["checks"]["ratelimiter"]["status"] == "ok"


def test_the_rules_that_come_with_it_let_a_first_test_through(mesh: Mesh) -> None:
    """Without a key some, and with one as many as anybody makes by hand."""
    with calling_from("127.0.0.61", mesh) as client:
        assert {create(client).status_code for _ in range(100)} == {200}
        key = headers_of(mesh.key_blocking())
        assert {create(client, **key).status_code for _ in range(200)} == {200}
