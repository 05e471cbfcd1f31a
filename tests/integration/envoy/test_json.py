"""The JSON API: what the transcoder makes of requests, replies and errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from tests.integration.envoy import status
from tests.integration.envoy.conftest import Mesh
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1 import rate_limit_service_pb2 as limits_pb

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
DEFAULTS = {
    "short_code": "abc",
    "short_url": "",
    "original_url": "",
    "state": "LINK_STATE_UNSPECIFIED",
    "redirect_status": 0,
    "etag": "",
    "destination_flags": [],
    "title": "",
    "tags": [],
    "max_clicks": 0,
    "clicks_used": 0,
    "forward_query": False,
}


async def test_a_link_is_snake_case_with_zeros_and_without_absent_times(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        response = await client.post("/api/v1/shorten", json={"url": "https://example.com/", "ttl_seconds": 60})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == DEFAULTS
    request = mesh.links.calls[0].request
    assert request == links_pb.CreateLinkRequest(url="https://example.com/", ttl_seconds=60)


async def test_times_enums_and_lists(mesh: Mesh) -> None:
    async def link(request: links_pb.CreateLinkRequest, _: Any) -> links_pb.Link:
        full = links_pb.Link(short_code="abc", original_url=request.url, state=links_pb.LINK_STATE_ACTIVE)
        full.created_at.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
        full.destination_flags.append(links_pb.DESTINATION_FLAG_CONFUSABLE)
        return full

    mesh.links.answers["CreateLink"] = link
    async with mesh.edge.client() as client:
        # Field names in camel case are proto3 JSON as well.
        body = {"url": "https://e.example/?a=b&c=<é>%zz", "expiresAt": "2030-01-01T00:00:00Z"}
        answer = (await client.post("/api/v1/shorten", json=body)).json()
    assert answer["created_at"] == "2026-01-02T03:04:05Z"
    assert answer["state"] == "LINK_STATE_ACTIVE"
    assert answer["destination_flags"] == ["DESTINATION_FLAG_CONFUSABLE"]
    assert answer["original_url"] == body["url"]
    assert "expires_at" not in answer


async def test_false_and_durations(mesh: Mesh) -> None:
    async def refuse(request: limits_pb.CheckRequest, _: Any) -> limits_pb.CheckResponse:
        return limits_pb.CheckResponse(allowed=False, retry_after=Duration(seconds=1, nanos=500_000_000))

    mesh.limits.answers["Check"] = refuse
    async with mesh.edge.client() as client:
        body = {"domain": "d", "descriptors": [{"entries": [{"key": "k", "value": "v"}]}]}
        response = await client.post("/api/v1/ratelimit/check", json=body)
    assert response.json() == {"allowed": False, "statuses": [], "retry_after": "1.500s", "degraded": False}
    request = mesh.limits.calls[0].request
    assert isinstance(request, limits_pb.CheckRequest)
    assert request.descriptors[0].entries[0].value == "v"
    assert not mesh.links.calls


@pytest.mark.parametrize("query", ["", "?utm_source=x&fbclid=y", "?redirect_status=301&a.b.c=d", "?%zz"])
async def test_query_parameters_nobody_asked_for(mesh: Mesh, query: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.get(f"/api/v1/urls/abc{query}")
    assert response.json()["short_code"] == "abc"


async def test_escapes_in_a_code_are_undone(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        response = await client.get("/api/v1/urls/a%3Fb%20c")
    assert response.json()["short_code"] == "a?b c"


async def test_delete_is_transcoded(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        assert (await client.delete("/api/v1/urls/abc")).json() == DEFAULTS
    assert [call.method for call in mesh.links.calls] == ["DeleteLink"]


async def test_no_grpc_headers_in_json_answers(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        good = await client.get("/api/v1/urls/abc")
        bad = await client.get("/api/v1/nope")
    for response in (good, bad):
        assert [name for name in response.headers if name.startswith(("grpc-", "x-envoy-", "trailer"))] == []
        assert response.headers["server"] == "waypost"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("initial_metadata", [False, True])
async def test_an_error_arrives_with_all_its_details(mesh: Mesh, initial_metadata: bool) -> None:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if initial_metadata:
            await context.send_initial_metadata((("x-early", "1"),))
        await status.abort(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            status.info("ERROR_REASON_INVALID_FIELD", key="é\n"),
            error_details_pb2.BadRequest(
                field_violations=[error_details_pb2.BadRequest.FieldViolation(field="url", description="is empty")]
            ),
            error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2)),
            error_details_pb2.ResourceInfo(resource_type="link", resource_name="abc"),
            error_details_pb2.QuotaFailure(violations=[error_details_pb2.QuotaFailure.Violation(subject="s")]),
        )

    mesh.links.answers["CreateLink"] = fail
    async with mesh.edge.client() as client:
        response = await client.post("/api/v1/shorten", json={})
    body = status.check_json(response, 400, 3, "ERROR_REASON_INVALID_FIELD")
    assert body["message"] == "this is INVALID_ARGUMENT"
    details = {detail.pop("@type").rpartition(".")[2]: detail for detail in body["details"]}
    assert details["ErrorInfo"]["metadata"] == {"key": "é\n"}
    assert details["BadRequest"]["field_violations"][0]["field"] == "url"
    assert details["RetryInfo"] == {"retry_delay": "2s"}
    assert details["ResourceInfo"]["resource_name"] == "abc"
    assert details["QuotaFailure"]["violations"][0]["subject"] == "s"


@pytest.mark.parametrize(
    ("code", "http_status"),
    [
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.ALREADY_EXISTS, 409),
        (grpc.StatusCode.ABORTED, 409),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.FAILED_PRECONDITION, 400),
        (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)
async def test_codes(mesh: Mesh, code: grpc.StatusCode, http_status: int) -> None:
    async def fail(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await status.abort(context, code, status.info("ERROR_REASON_INTERNAL"))

    mesh.links.answers["DeleteLink"] = fail
    async with mesh.edge.client() as client:
        response = await client.delete("/api/v1/urls/abc")
    status.check_json(response, http_status, code.value[0], "ERROR_REASON_INTERNAL")


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b'{"url": ', "Unexpected end of string"),
        (b"url=https://example.com/", "Unexpected token"),
        (b'{"url": {"a": 1}}', "url"),
        (b'{"url": "x", "ttl_seconds": "soon"}', "ttl_seconds"),
        (b'{"url": "x", "expires_at": "tomorrow"}', "expires_at"),
        (b'{"url": "x", "expires_at": "2030-01-01T00:00:00Z", "ttl_seconds": 5}', "expiry"),
        (b"[1]", "message"),
        (b'{"url": "\xff"}', "UTF-8"),
    ],
)
async def test_malformed_bodies_are_explained(mesh: Mesh, body: bytes, hint: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.post("/api/v1/shorten", content=body, headers=JSON)
    answer = status.check_json(response, 400, 3, "ERROR_REASON_MALFORMED_REQUEST")
    assert hint in answer["message"]
    assert ": :" not in answer["message"]
    assert answer["details"][0]["metadata"] == {"method": "POST /api/v1/shorten"}
    assert "x-correlation-id" in response.headers
    assert not mesh.links.calls


async def test_unknown_fields_of_a_body_are_passed_over(mesh: Mesh) -> None:
    # Envoy 1.40 has no option to refuse them. If this fails one day, there is one: refuse them.
    async with mesh.edge.client() as client:
        response = await client.post("/api/v1/shorten", json={"url": "x", "no_such_field": 1})
    assert response.status_code == 200
    assert mesh.links.calls[0].request == links_pb.CreateLinkRequest(url="x")


@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonx", ""])
async def test_other_content_types(mesh: Mesh, content_type: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.post("/api/v1/shorten", content=b"{}", headers={"content-type": content_type})
    answer = status.check_json(response, 415, 3, "ERROR_REASON_MALFORMED_REQUEST")
    assert "application/json" in answer["message"]
    assert not mesh.links.calls


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/merge-patch+json",
        "application/x-www-form-urlencoded",  # what `curl -d` says of any body
    ],
)
async def test_json_content_types(mesh: Mesh, content_type: str | None) -> None:
    async with mesh.edge.client() as client:
        headers = {"content-type": content_type} if content_type else {}
        response = await client.post("/api/v1/shorten", content=b'{"url": "x"}', headers=headers)
    assert response.status_code == 200


async def test_an_empty_body_reaches_the_service(mesh: Mesh) -> None:
    # It is the service that can name every missing field.
    async with mesh.edge.client() as client:
        assert (await client.post("/api/v1/shorten")).status_code == 200
    assert mesh.links.calls[0].request == links_pb.CreateLinkRequest()


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_up_to_64_kib(mesh: Mesh, http2: bool, chunked: bool) -> None:
    async def pieces(body: bytes) -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async with mesh.edge.client(http2=http2) as client:
        for size, wanted in ((65_536, 200), (65_537, 413)):
            body = b'{"url": "%s"}' % (b"x" * (size - 11))
            assert len(body) == size
            content = pieces(body) if chunked else body
            response = await client.post("/api/v1/shorten", content=content, headers=JSON)
            assert response.status_code == wanted
    answer = status.check_json(response, 413, 8, "ERROR_REASON_REQUEST_TOO_LARGE")
    assert "65,536" in answer["message"]
    assert len(mesh.links.calls) == 1
    assert "x-correlation-id" in response.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v1/shorten"),
        ("POST", "/api/v1/urls/abc"),
        ("GET", "/api/v1/urls/abc/more"),
        ("PURGE", "/api/v1/urls/abc"),
    ],
)
async def test_unknown_routes_of_the_api(mesh: Mesh, method: str, path: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.request(method, path)
    status.check_json(response, 404, 5, "ERROR_REASON_ROUTE_NOT_FOUND")
    assert not mesh.web.requests
    assert not mesh.links.calls


@pytest.mark.parametrize("path", ["/waypost.api.v1.LinkService/CreateLink", "/waypost.api.v1.JobService/ListJobs"])
async def test_json_to_a_grpc_path_goes_nowhere(mesh: Mesh, path: str) -> None:
    async with mesh.edge.client() as client:
        response = await client.post(path, json={})
    status.check_json(response, 405, 5, "ERROR_REASON_ROUTE_NOT_FOUND")
    assert not mesh.links.calls


async def test_a_json_call_brings_its_deadline(mesh: Mesh) -> None:
    async with mesh.edge.client() as client:
        await client.get("/api/v1/urls/abc", headers={"x-envoy-upstream-rq-timeout-ms": "99999"})
    metadata = mesh.links.calls[0].metadata
    assert 9_000 < int(metadata["x-envoy-expected-rq-timeout-ms"]) <= 10_000
    assert metadata["x-envoy-original-path"] == "/api/v1/urls/abc"
    assert metadata["x-envoy-original-method"] == "GET"
