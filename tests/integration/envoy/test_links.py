"""The API of links in JSON: what each call becomes on its way to the gateway."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import link_service_pb2_grpc as pb_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = "/api/v1/urls/abc"


async def became(mesh: Mesh, method: str, path: str, body: Any = None, **headers: str) -> Message:
    """The message that the gateway gets of a request, which must succeed."""
    async with mesh.edge.client() as client:
        response = await client.request(method, path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    (call,) = mesh.links.calls
    mesh.links.calls.clear()
    return call.request


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("GET", "/api/v1/urls", None, pb.ListLinksRequest()),
        ("GET", "/api/v1/urls/", None, pb.ListLinksRequest()),
        ("PATCH", LINK, {}, pb.UpdateLinkRequest(short_code="abc")),
        ("PATCH", LINK, None, pb.UpdateLinkRequest(short_code="abc")),
        ("DELETE", LINK, None, pb.DeleteLinkRequest(short_code="abc")),
        ("POST", f"{LINK}:undelete", {}, pb.UndeleteLinkRequest(short_code="abc")),
        ("POST", f"{LINK}:undelete", None, pb.UndeleteLinkRequest(short_code="abc")),
        (
            "POST",
            f"{LINK}:undelete",
            {"etag": '"e"', "request_id": "r"},
            pb.UndeleteLinkRequest(short_code="abc", etag='"e"', request_id="r"),
        ),
        ("POST", "/api/v1/shorten:batch", {}, pb.BatchCreateLinksRequest()),
        (
            "POST",
            "/api/v1/shorten:batch?utm_source=x",
            {"requests": [{"url": "x", "maxClicks": 5}, {"tags": ["a", "b"]}, {}], "request_id": "r"},
            pb.BatchCreateLinksRequest(
                requests=[
                    pb.CreateLinkRequest(url="x", max_clicks=5),
                    pb.CreateLinkRequest(tags=["a", "b"]),
                    pb.CreateLinkRequest(),
                ],
                request_id="r",
            ),
        ),
        (
            "POST",
            "/api/v1/shorten",
            {"url": "x", "title": "é", "tags": ["a"], "max_clicks": 5, "forward_query": True, "request_id": "r"},
            pb.CreateLinkRequest(url="x", title="é", tags=["a"], max_clicks=5, forward_query=True, request_id="r"),
        ),
    ],
)
async def test_each_call_has_its_route(mesh: Mesh, method: str, path: str, body: Any, message: Message) -> None:
    assert await became(mesh, method, path, body) == message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/urls/abc:nothing"),
        ("POST", "/api/v1/urls/abc%3Aundelete"),
        ("POST", "/api/v1/urls/abc:undelete/"),
        ("GET", "/api/v1/urls/abc:undelete"),
        ("POST", "/api/v1/shorten%3Abatch"),
        ("POST", "/api/v1/shorten:batch/"),
        ("GET", "/api/v1/shorten:batch"),
        ("PATCH", "/api/v1/urls"),
        ("PUT", LINK),
    ],
)
async def test_verbs_have_one_spelling(mesh: Mesh, method: str, path: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.request(method, path, content=b"{}" if method != "GET" else b"")
    status.check_json(response, 404, 5, "ERROR_REASON_ROUTE_NOT_FOUND")
    assert not mesh.links.calls


FILTERS = [
    'tag = "spring sale" AND state = expired',
    "text : a+b%&?#/ü AND tag=x",
    'created_at >= "2026-01-31T00:00:00+02:00"',
    "%zz %41 %2B",
    "a;b=c\\d'",
]


@pytest.mark.parametrize("text", FILTERS)
async def test_a_filter_arrives_as_it_was_meant(mesh: Mesh, text: str) -> None:
    for escaped in (quote(text, safe=""), quote_plus(text)):
        request = await became(mesh, "GET", f"/api/v1/urls?filter={escaped}&page_size=7&utm_source=x")
        assert request == pb.ListLinksRequest(filter=text, page_size=7)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("page_size=0&page_token=", pb.ListLinksRequest()),
        ("page_size=-1", pb.ListLinksRequest(page_size=-1)),
        ("pageSize=7&orderBy=created_at desc", pb.ListLinksRequest(page_size=7, order_by="created_at desc")),
        ("page_token=ab-_%3D%3D&order_by=short_code", pb.ListLinksRequest(page_token="ab-_==", order_by="short_code")),
        # The last one counts.
        ("page_size=1&page_size=2&filter=a&filter=b", pb.ListLinksRequest(page_size=2, filter="b")),
        ("filter", pb.ListLinksRequest()),
        ("links.title=x&next_page_token=y", pb.ListLinksRequest()),
    ],
)
async def test_parameters_of_a_list(mesh: Mesh, query: str, message: Message) -> None:
    assert await became(mesh, "GET", f"/api/v1/urls?{query}") == message


@pytest.mark.parametrize("query", ["page_size=many", "page_size=", "page_size=1.5", "page_size=2147483648"])
async def test_a_size_that_is_no_number_is_refused(mesh: Mesh, query: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.get(f"/api/v1/urls?{query}")
    answer = status.check_json(response, 400, 3, "ERROR_REASON_MALFORMED_REQUEST")
    assert "page_size: invalid value" in answer["message"]
    assert answer["details"][0]["metadata"] == {"method": "GET /api/v1/urls"}


async def test_a_deletion_says_what_it_is_about_in_its_query(mesh: Mesh) -> None:
    request = await became(mesh, "DELETE", f"{LINK}?etag=%22W%2B1%22&request_id=0b9e-1")
    assert request == pb.DeleteLinkRequest(short_code="abc", etag='"W+1"', request_id="0b9e-1")
    # Or in a body, which HTTP does not forbid.
    request = await became(mesh, "DELETE", LINK, {"etag": "e"})
    assert request == pb.DeleteLinkRequest(short_code="abc", etag="e")


@pytest.mark.parametrize(
    ("mask", "paths"),
    [
        ("title,tags", ["title", "tags"]),
        ("expires_at", ["expires_at"]),
        ("expiresAt,maxClicks,redirect_status", ["expires_at", "max_clicks", "redirect_status"]),
        ("*", ["*"]),
        ("title, tags", ["title", " tags"]),
        ("title,,title", ["title", "title"]),
        ("nothing.of_this", ["nothing.of_this"]),
        ("", []),
        ({"paths": ["expires_at", "max_clicks"]}, ["expires_at", "max_clicks"]),
    ],
)
@pytest.mark.parametrize("name", ["update_mask", "updateMask"])
async def test_a_mask_arrives_in_snake_case(mesh: Mesh, name: str, mask: Any, paths: list[str]) -> None:
    request = await became(mesh, "PATCH", LINK, {name: mask})
    assert request == pb.UpdateLinkRequest(short_code="abc", update_mask=FieldMask(paths=paths))


async def test_no_mask_is_no_mask(mesh: Mesh) -> None:
    for body in ({}, {"update_mask": None}):
        request = await became(mesh, "PATCH", LINK, body)
        assert not request.HasField("update_mask")


async def test_a_mask_may_stand_in_the_query(mesh: Mesh) -> None:
    request = await became(mesh, "PATCH", f"{LINK}?update_mask=title,expiresAt", {"title": "x"})
    assert request == pb.UpdateLinkRequest(
        short_code="abc", title="x", update_mask=FieldMask(paths=["title", "expires_at"])
    )


@pytest.mark.parametrize(
    ("body", "present"),
    [
        ({"title": ""}, {"title"}),
        ({"title": None}, set()),
        ({"url": ""}, {"url"}),
        (
            {"max_clicks": 0, "redirect_status": 0, "forward_query": False},
            {"max_clicks", "redirect_status", "forward_query"},
        ),
        ({"maxClicks": 0, "forwardQuery": None}, {"max_clicks"}),
        ({"expires_at": None, "ttl_seconds": 0}, {"ttl_seconds"}),
        # Lists have no presence: an empty one is none, which is why only the mask can clear the tags.
        ({"tags": []}, set()),
        ({"no_such_field": 1}, set()),
    ],
)
async def test_a_field_that_was_sent_is_present(mesh: Mesh, body: dict[str, Any], present: set[str]) -> None:
    request = await became(mesh, "PATCH", LINK, body)
    assert {field.name for field, _ in request.ListFields()} == {"short_code", *present}


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("2030-01-01T00:00:00Z", 1_893_456_000, 0),
        ("2030-01-01T00:00:00+02:00", 1_893_448_800, 0),
        ("2030-01-01T00:00:00.123456789Z", 1_893_456_000, 123_456_789),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
        ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
    ],
)
async def test_times(mesh: Mesh, text: str, seconds: int, nanos: int) -> None:
    request = await became(mesh, "PATCH", LINK, {"expires_at": text})
    assert request == pb.UpdateLinkRequest(short_code="abc", expires_at=Timestamp(seconds=seconds, nanos=nanos))


async def test_the_path_says_which_link(mesh: Mesh) -> None:
    wanted = pb.UpdateLinkRequest(short_code="abc")
    for query, body in (
        ("", {"short_code": "abc"}),
        ("", {"short_code": None}),
        ("", {"shortCode": "other"}),
        ("?short_code=other", {}),
        ("?shortCode=other&short_code=another", {}),
    ):
        assert await became(mesh, "PATCH", LINK + query, body) == wanted
    assert await became(mesh, "DELETE", f"{LINK}?short_code=other") == pb.DeleteLinkRequest(short_code="abc")
    assert await became(mesh, "GET", f"{LINK}?shortCode=other") == pb.GetLinkRequest(short_code="abc")


@pytest.mark.parametrize("code", ["other", ""])
async def test_a_body_that_names_another_link_is_refused(mesh: Mesh, code: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.patch(LINK, json={"short_code": code})
    answer = status.check_json(response, 400, 3, "ERROR_REASON_MALFORMED_REQUEST")
    assert "conflicting" in answer["message"]


async def test_keys_and_conditions_arrive_from_either_kind_of_caller(mesh: Mesh) -> None:
    headers = {"idempotency-key": "key-1", "if-match": '"etag"'}
    async with mesh.edge.client() as client, mesh.edge.channel() as channel:
        await client.patch(LINK, json={"title": "x"}, headers={"Idempotency-Key": "key-1", "If-Match": '"etag"'})
        await client.delete(LINK, headers=headers)
        await client.post("/api/v1/shorten:batch", json={}, headers=headers)
        stub = pb_grpc.LinkServiceStub(channel)
        await stub.UpdateLink(pb.UpdateLinkRequest(short_code="abc"), metadata=tuple(headers.items()))
        await stub.BatchCreateLinks(pb.BatchCreateLinksRequest(), metadata=tuple(headers.items()))
    assert len(mesh.links.calls) == 5
    for call in mesh.links.calls:
        assert {name: call.metadata[name] for name in headers} == headers


async def test_one_result_for_each_of_a_batch(mesh: Mesh) -> None:
    async def answer(request: pb.BatchCreateLinksRequest, _: Any) -> pb.BatchCreateLinksResponse:
        error = status.make(6, 'the alias "x" is taken', status.info("ERROR_REASON_ALIAS_TAKEN", short_code="x"))
        made = pb.BatchCreateLinkResult(link=pb.Link(short_code="abc"))
        return pb.BatchCreateLinksResponse(results=[made, pb.BatchCreateLinkResult(error=error)])

    mesh.links.answers["BatchCreateLinks"] = answer
    async with mesh.edge.client() as client:
        response = await client.post("/api/v1/shorten:batch", json={"requests": [{}, {}]})
    made, refused = response.json()["results"]
    assert (made.keys(), made["link"]["short_code"]) == ({"link"}, "abc")
    assert refused["error"]["code"] == 6
    assert refused["error"]["details"][0]["metadata"] == {"short_code": "x"}


async def test_each_call_is_also_grpc(mesh: Mesh) -> None:
    async with mesh.edge.channel() as channel:
        stub = pb_grpc.LinkServiceStub(channel)
        await stub.ListLinks(pb.ListLinksRequest(page_size=3))
        await stub.UpdateLink(pb.UpdateLinkRequest(short_code="abc"))
        await stub.UndeleteLink(pb.UndeleteLinkRequest(short_code="abc"))
        await stub.BatchCreateLinks(pb.BatchCreateLinksRequest())
    assert [call.method for call in mesh.links.calls] == ["ListLinks", "UpdateLink", "UndeleteLink", "BatchCreateLinks"]
