"""Many links in one go: each is made or refused by itself, in the order asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2, status_pb2

from tests.e2e.api import (
    Api,
    api_from,
    bad_fields,
    bad_fields_of,
    calling_from,
    detail,
    fresh_alias,
    info,
    refused,
    status_of_json,
)
from tests.e2e.conftest import STRICT_LIMIT
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

MOST = 1000
MOST_BYTES = 3 * 1024 * 1024
TIMEOUT = 30.0
GOOD = {"url": "https://a.example/"}


@pytest.fixture(scope="module")
def many(mesh: Mesh) -> Iterator[Api]:
    """The same mesh for one who makes thousands of links."""
    with api_from("127.0.1.1", mesh) as api:
        yield api


def outcomes(results: Sequence[dict[str, Any]]) -> list[str]:
    """For each request `link` or `error`."""
    return [outcome for result in results for outcome in result]


def error_of(result: dict[str, Any]) -> status_pb2.Status:
    """The status of a request that was refused; asserts that it is complete."""
    assert list(result) == ["error"], result
    status = ParseDict(result["error"], status_pb2.Status())
    assert status.message
    assert info(status).domain == "waypost"
    return status


def test_each_in_its_place(api: Api) -> None:
    taken, free = fresh_alias(), fresh_alias()
    api.make(alias=taken)
    requests: list[dict[str, object]] = [
        {"url": "https://a.example/0", "alias": free, "title": "Erste 🥇", "tags": ["x", "y"], "max_clicks": 3},
        {"url": "javascript:alert(1)"},
        {"url": "https://a.example/2", "ttl_seconds": 60, "redirect_status": 308, "forward_query": True},
        {"url": "https://a.example/3", "alias": taken},
        {"url": "https://a.example/4", "alias": taken.upper()},
        {"url": "https://a.example/5", "alias": "a/b", "redirect_status": 200, "tags": ["a,b"]},
        {"url": "https://a.example/6", "request_id": "its-own"},
        {},
        {"url": "https://a.example/8"},
    ]
    results = api.results(requests)
    assert [next(iter(result)) for result in results] == [
        "link",
        "error",
        "link",
        "error",
        "error",
        "error",
        "error",
        "error",
        "link",
    ]

    first, second, last = (results[place]["link"] for place in (0, 2, 8))
    assert (first["short_code"], first["title"], first["tags"], first["max_clicks"]) == (
        free,
        "Erste 🥇",
        ["x", "y"],
        3,
    )
    wanted = {"original_url": "https://a.example/2", "redirect_status": 308, "forward_query": True}
    assert second.items() >= wanted.items()
    assert "expires_at" in second
    assert last["original_url"] == "https://a.example/8"
    for link in (first, second, last):
        assert api.link(link["short_code"]) == link
        assert api.told(link["short_code"]) == ["created"]
    assert api.http.get(f"/{last['short_code']}").headers["location"] == "https://a.example/8"

    for place, fields in (
        (1, {"url"}),
        (5, {"alias", "redirect_status", "tags[0]"}),
        (6, {"request_id"}),
        (7, {"url"}),
    ):
        assert bad_fields_of(error_of(results[place])).keys() == fields
    for place, alias in ((3, taken), (4, taken.upper())):
        status = error_of(results[place])
        assert (status.code, info(status).reason) == (6, "ERROR_REASON_ALIAS_TAKEN")
        assert info(status).metadata["short_code"] == alias
        assert detail(status, error_details_pb2.ResourceInfo).resource_name == alias
    assert api.told(taken) == ["created"]


def test_what_is_said_of_one_is_what_it_would_be_told_alone(api: Api) -> None:
    taken = api.code(alias=fresh_alias())
    bad: list[dict[str, object]] = [
        {"url": "ftp://a.example/", "alias": "x", "ttl_seconds": 0, "max_clicks": -1, "title": "a\nb"},
        {"url": "https://a.example/", "alias": taken},
        {"url": "https://a.example/", "alias": "API"},
        {"url": api.mesh.http_url},
    ]
    together = [error_of(result) for result in api.results(bad)]
    for fields, status in zip(bad, together, strict=True):
        alone = api.send("POST", "/api/v1/shorten", fields)
        assert status_of_json(alone, 409 if status.code == 6 else 400) == status


def test_an_alias_twice_is_the_first_ones(api: Api) -> None:
    one, two = fresh_alias() + "-a", fresh_alias() + "-b"
    aliases = [one, two.upper(), one.upper(), one, two]
    results = api.results(
        [{"url": f"https://a.example/{place}", "alias": alias} for place, alias in enumerate(aliases)]
    )
    assert [next(iter(result)) for result in results] == ["link", "link", "error", "error", "error"]
    assert [info(error_of(result)).reason for result in results[2:]] == ["ERROR_REASON_ALIAS_TAKEN"] * 3
    assert api.link(one)["original_url"] == "https://a.example/0"
    assert api.link(two.upper())["original_url"] == "https://a.example/1"
    for other in (one.upper(), two):
        assert api.http.get(f"/api/v1/urls/{other}").status_code == 404
    # The words of the ones that were refused are nobody's.
    assert [link["short_code"] for link in api.page(filter=f'text : "{one}"')["links"]] == [one]
    assert api.told(one) == api.told(two.upper()) == ["created"]


def test_the_same_over_grpc(api: Api, links_channel: grpc.Channel) -> None:
    alias = fresh_alias()
    request = links.BatchCreateLinksRequest(
        requests=[
            links.CreateLinkRequest(url="https://a.example/é", alias=alias, tags=["ü"]),
            links.CreateLinkRequest(url="https://a.example/", alias=alias.upper()),
            links.CreateLinkRequest(url="no"),
            links.CreateLinkRequest(url="https://a.example/", request_id="x"),
        ]
    )
    results = LinkServiceStub(links_channel).BatchCreateLinks(request, timeout=TIMEOUT).results
    assert [result.WhichOneof("outcome") for result in results] == ["link", "error", "error", "error"]
    assert MessageToDict(results[0].link, preserving_proto_field_name=True).items() <= api.link(alias).items()
    assert (results[1].error.code, info(results[1].error).reason) == (6, "ERROR_REASON_ALIAS_TAKEN")
    assert [list(bad_fields_of(result.error)) for result in results[2:]] == [["url"], ["request_id"]]


def test_nothing_but_refusals_is_an_answer_too(api: Api) -> None:
    before = api.sql("SELECT count(*) FROM links")[0][0]
    results = api.results([{"url": "no"}] * 3)
    assert [list(bad_fields_of(error_of(result))) for result in results] == [["url"]] * 3
    assert api.sql("SELECT count(*) FROM links")[0][0] == before


def test_a_thousand_at_once(many: Api) -> None:
    tag = fresh_alias()
    requests: list[dict[str, object]] = [{"url": f"https://a.example/{place}", "tags": [tag]} for place in range(MOST)]
    requests[500] = {"url": "no"}
    results = many.results(requests)
    urls = [result["link"]["original_url"] if "link" in result else None for result in results]
    assert urls == [None if place == 500 else f"https://a.example/{place}" for place in range(MOST)]
    assert list(bad_fields_of(error_of(results[500]))) == ["url"]
    codes = {result["link"]["short_code"] for result in results if "link" in result}
    assert len(codes) == MOST - 1
    (row,) = many.sql(
        "SELECT count(*), count(DISTINCT subject) AS subjects FROM outbox WHERE subject = ANY($1)", list(codes)
    )
    assert (row["count"], row["subjects"]) == (MOST - 1, MOST - 1)
    assert set(many.codes(filter=f"tag = {tag}", page_size=500)) == codes


@pytest.mark.parametrize("number", [0, MOST + 1])
def test_too_few_and_too_many(many: Api, links_channel: grpc.Channel, number: int) -> None:
    before = many.sql("SELECT count(*) FROM links")[0][0]
    in_json = bad_fields(many.batch([GOOD] * number))
    request = links.BatchCreateLinksRequest(requests=[links.CreateLinkRequest(url=GOOD["url"])] * number)
    over_grpc = bad_fields_of(
        refused(lambda: LinkServiceStub(links_channel).BatchCreateLinks(request, timeout=TIMEOUT))
    )
    assert list(in_json) == ["requests"]
    assert in_json == over_grpc
    assert ("more than 1,000" if number else "0") in in_json["requests"]
    assert many.sql("SELECT count(*) FROM links")[0][0] == before


@pytest.mark.parametrize("body", [b"", b"{}", b'{"requests": null}', b'{"requests": []}'])
def test_bodies_without_requests(api: Api, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    assert list(bad_fields(api.http.post("/api/v1/shorten:batch", content=body, headers=headers))) == ["requests"]


def sized(body_bytes: int) -> bytes:
    """The JSON of a batch of long URLs that has so many bytes."""
    prefix = b'{"requests":['
    number = -(-body_bytes // 8000)
    room = body_bytes - len(prefix) - 1 - number * len(b'{"url":"https://a.example/"},')
    each, rest = divmod(room, number)
    items = []
    for place in range(number):
        items.append(b'{"url":"https://a.example/%s"}' % (b"x" * (each + (place < rest))))
    body = prefix + b",".join(items) + b"]}"
    assert len(body) == body_bytes
    return body


def test_as_large_as_it_may_be(many: Api, edge_channel: grpc.Channel) -> None:
    body = sized(MOST_BYTES)
    headers = {"content-type": "application/json"}
    response = many.http.post("/api/v1/shorten:batch", content=body, headers=headers)
    assert response.status_code == 200, response.text[:1000]
    results = response.json()["results"]
    assert all(list(result) == ["link"] for result in results)
    assert many.link(results[-1]["link"]["short_code"]) == results[-1]["link"]


def test_larger_than_it_may_be(many: Api) -> None:
    before = many.sql("SELECT count(*) FROM links")[0][0]
    headers = {"content-type": "application/json"}
    response = many.http.post("/api/v1/shorten:batch", content=sized(MOST_BYTES + 1), headers=headers)
    status = status_of_json(response, 413)
    assert (status.code, info(status).reason) == (8, "ERROR_REASON_REQUEST_TOO_LARGE")
    assert "3,145,728" in status.message
    assert many.sql("SELECT count(*) FROM links")[0][0] == before


@pytest.mark.parametrize("way", ["edge", "control"])
def test_as_large_as_it_may_be_over_grpc(
    mesh: Mesh, edge_channel: grpc.Channel, gateway_channel: grpc.Channel, way: str
) -> None:
    """An answer has more bytes than its request; a client that takes as much as gRPC does by itself must get it."""
    channel = edge_channel if way == "edge" else gateway_channel
    number = 520
    room = MOST_BYTES // number - 40
    items = [links.CreateLinkRequest(url="https://a.example/" + "x" * (room - 18)) for _ in range(number)]
    request = links.BatchCreateLinksRequest(requests=items)
    assert MOST_BYTES - 32_768 < request.ByteSize() <= MOST_BYTES
    # A caller whose limit nobody else feels.
    metadata = tuple(headers_of(mesh.key_blocking()).items())
    results = LinkServiceStub(channel).BatchCreateLinks(request, timeout=TIMEOUT, metadata=metadata).results
    assert [result.WhichOneof("outcome") for result in results] == ["link"] * number


def test_larger_than_it_may_be_over_grpc(links_channel: grpc.Channel) -> None:
    items = [links.CreateLinkRequest(url="https://a.example/" + "x" * 8000) for _ in range(530)]
    request = links.BatchCreateLinksRequest(requests=items)
    assert request.ByteSize() > MOST_BYTES
    with pytest.raises(grpc.RpcError) as caught:
        LinkServiceStub(links_channel).BatchCreateLinks(request, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_rivals_in_opposite_order_take_each_alias_once(many: Api) -> None:
    """Rows that two transactions take in opposite orders make each wait for the other; these do not."""
    shared = [fresh_alias() for _ in range(40)]
    orders = [shared, shared[::-1], [alias.upper() for alias in shared], shared[20:] + shared[:20]]
    together = Barrier(len(orders), timeout=10)

    def make(order: Sequence[str]) -> list[dict[str, Any]]:
        together.wait()
        return many.results([{"url": "https://a.example/", "alias": alias} for alias in order])

    with ThreadPoolExecutor(len(orders)) as pool:
        results = [result for results in pool.map(make, orders) for result in results]
    made = [result["link"]["short_code"].lower() for result in results if "link" in result]
    assert sorted(made) == sorted(shared)
    for result in results:
        assert "link" in result or info(error_of(result)).reason == "ERROR_REASON_ALIAS_TAKEN"
    (row,) = many.sql(
        "SELECT count(*), count(DISTINCT subject) AS subjects FROM outbox WHERE lower(subject) = ANY($1)", shared
    )
    assert (row["count"], row["subjects"]) == (len(shared), len(shared))


def batch_of(number: int, client: httpx.Client) -> httpx.Response:
    return client.post("/api/v1/shorten:batch", json={"requests": [GOOD] * number})


def test_a_batch_spends_as_much_as_its_links_would(strict: Mesh) -> None:
    with calling_from("127.0.1.11", strict) as client:
        assert batch_of(STRICT_LIMIT - 1, client).status_code == 200
        too_much = status_of_json(batch_of(2, client), 429)
        assert (too_much.code, info(too_much).reason) == (8, "ERROR_REASON_RATE_LIMITED")
        assert detail(too_much, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() > 0
        # What was refused has cost nothing; what is left is enough for one.
        assert client.post("/api/v1/shorten", json=GOOD).status_code == 200
        assert client.post("/api/v1/shorten", json=GOOD).status_code == 429


def test_requests_that_are_refused_for_their_fields_count_too(strict: Mesh) -> None:
    with calling_from("127.0.1.12", strict) as client:
        body = {"requests": [{"url": "no"}] * STRICT_LIMIT}
        assert client.post("/api/v1/shorten:batch", json=body).status_code == 200
        assert client.post("/api/v1/shorten", json=GOOD).status_code == 429
    with calling_from("127.0.1.13", strict) as client:
        # Too many to be a batch at all: nothing is counted.
        assert batch_of(MOST + 1, client).status_code == 400
        assert batch_of(STRICT_LIMIT, client).status_code == 200


def test_a_batch_larger_than_the_limit_ever_is(strict: Mesh) -> None:
    with calling_from("127.0.1.14", strict) as client:
        response = batch_of(STRICT_LIMIT + 1, client)
        status = status_of_json(response, 429)
        assert info(status).reason == "ERROR_REASON_RATE_LIMITED"
        # No wait helps. Nobody is told to come back at once, to be sent away again.
        delays = [one for one in status.details if one.TypeName() == "google.rpc.RetryInfo"]
        assert not delays or detail(status, error_details_pb2.RetryInfo).retry_delay.seconds >= 1
        assert "0.000 s" not in status.message
        assert batch_of(STRICT_LIMIT, client).status_code == 200
