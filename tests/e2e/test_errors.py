"""Errors: always a `google.rpc.Status` with its details, the same over gRPC and as JSON, whatever was sent."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2

from tests.e2e.api import Api, detail, fresh_alias, info, status_of_json, status_of_rpc
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1 import rate_limit_service_pb2 as limits
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub

JSON = {"content-type": "application/json"}
PROBLEM = {"accept": "application/problem+json"}
TIMEOUT = 10.0


def malformed(response: httpx.Response, http_status: int = 400) -> str:
    """The message of a request that is none; asserts that it is refused as such."""
    status = status_of_json(response, http_status)
    assert (status.code, info(status).reason) == (3, "ERROR_REASON_MALFORMED_REQUEST")
    return str(status.message)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        pytest.param(b'{"url": ', "Unexpected end", id="cut off"),
        pytest.param(b'{"url": "https://a.example/"} {}', "end of input", id="more than one"),
        pytest.param(b"url=https://a.example/", "Unexpected token", id="a form"),
        pytest.param(b"[]", "message", id="an array"),
        pytest.param(b'"https://a.example/"', "message", id="a string"),
        pytest.param(b"null", "message", id="null"),
        pytest.param(b'{"url": 5}', "url", id="a number for a string"),
        pytest.param(b'{"url": ["https://a.example/"]}', "cannot start list", id="a list for a string"),
        pytest.param(b'{"url": {}}', "url", id="an object for a string"),
        pytest.param(b'{"url": "https://a.example/", "ttl_seconds": 1.5}', "ttl_seconds", id="half a second"),
        pytest.param(b'{"url": "https://a.example/", "ttl_seconds": 2147483648}', "ttl_seconds", id="33 bits"),
        pytest.param(b'{"url": "https://a.example/", "ttl_seconds": true}', "ttl_seconds", id="a truth for a number"),
        pytest.param(b'{"url": "https://a.example/", "expires_at": 5}', "expires_at", id="a number for a time"),
        pytest.param(b'{"url": "https://a.example/", "expires_at": "2030-01-01"}', "expires_at", id="a day for a time"),
        pytest.param(
            b'{"url": "https://a.example/", "ttl_seconds": 5, "expires_at": "2030-01-01T00:00:00Z"}',
            "expiry",
            id="two ends",
        ),
        pytest.param(b'{"url": "https://a.example/\xff"}', "UTF-8", id="bytes that are no text"),
        pytest.param(b'{"url": "https://a.example/\\ud800"}', "surrogate", id="half a character"),
    ],
)
def test_bodies_that_are_no_request(api: Api, body: bytes, hint: str) -> None:
    assert hint in malformed(api.http.post("/api/v1/shorten", content=body, headers=JSON))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"url": ""}', b'{"url": null}'])
def test_bodies_without_the_one_thing_needed(api: Api, body: bytes) -> None:
    status = status_of_json(api.http.post("/api/v1/shorten", content=body, headers=JSON), 400)
    (violation,) = detail(status, error_details_pb2.BadRequest).field_violations
    assert violation.field == "url"
    assert "must not be empty" in violation.description


@pytest.mark.parametrize(
    "body",
    [
        # The edge's decoder has no way of refusing either. If this fails one day, it has, and they should be refused.
        pytest.param(b'{"url": "https://a.example/", "max_clicks": 5, "nope": {"a": [1]}}', id="unknown fields"),
        pytest.param(b'{"url": "https://b.example/", "url": "https://a.example/"}', id="a field twice"),
    ],
)
def test_what_passes_though_it_is_odd(api: Api, body: bytes) -> None:
    response = api.http.post("/api/v1/shorten", content=body, headers=JSON)
    assert (response.status_code, response.json()["original_url"]) == (200, "https://a.example/")


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
def test_json_by_whatever_name_curl_calls_it(api: Api, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = api.http.post("/api/v1/shorten", content=b'{"url": "https://a.example/"}', headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "text/html"])
def test_bodies_that_do_not_claim_to_be_json(api: Api, content_type: str) -> None:
    """What a page in a browser can send to another site without being asked for its origin: none of it gets in."""
    body = b'{"url": "https://a.example/"}'
    response = api.http.post("/api/v1/shorten", content=body, headers={"content-type": content_type})
    assert "application/json" in malformed(response, 415)


@pytest.mark.parametrize("size", [65_537, 1_000_000])
def test_bodies_that_are_too_large(api: Api, size: int) -> None:
    response = api.http.post("/api/v1/shorten", content=b'{"url": "%s"}' % (b"x" * (size - 11)), headers=JSON)
    status = status_of_json(response, 413)
    assert (status.code, info(status).reason) == (8, "ERROR_REASON_REQUEST_TOO_LARGE")
    assert "65,536" in status.message


@pytest.mark.parametrize(
    ("method", "path", "http_status"),
    [
        ("GET", "/api/v1/shorten", 404),
        ("PUT", "/api/v1/shorten", 404),
        ("DELETE", "/api/v1/shorten", 404),
        ("POST", "/api/v1/urls/abc", 404),
        ("PUT", "/api/v1/urls/abc", 404),
        ("POST", "/api/v1/urls", 404),
        ("POST", "/api/v1/urls/abc:nothing", 404),
        ("GET", "/api/v1/urls/abc:undelete", 404),
        ("GET", "/api/v1/shorten:batch", 404),
        ("GET", "/api/v1/urls/abc/more", 404),
        ("GET", "/api/v1/ratelimit/check", 404),
        ("GET", "/api/v2/urls/abc", 404),
        ("GET", "/api", 404),
        ("GET", "/API/v1/urls/abc", 404),
        ("POST", "/", 405),
        ("POST", "/abc", 405),
        ("DELETE", "/abc", 405),
        ("OPTIONS", "/abc", 405),
        ("POST", "/waypost.api.v1.LinkService/CreateLink", 405),
        ("POST", "/grpc.health.v1.Health/Check", 405),
    ],
)
def test_wrong_methods_and_paths(api: Api, method: str, path: str, http_status: int) -> None:
    response = api.http.request(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)
    status = status_of_json(response, http_status)
    # A path of two parts that is not the API's could have been a short link, and its page says so.
    assert info(status).reason in ("ERROR_REASON_ROUTE_NOT_FOUND", "ERROR_REASON_LINK_NOT_FOUND")
    if http_status == 405:
        assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/api/v1/urls/a%2Fb", "/api/v1/urls/a%5Cb", "/api/v1/urls/a%00b", "/a%2fb", "/%00"])
def test_paths_that_are_read_in_two_ways(api: Api, path: str) -> None:
    answer = api.raw(b"GET %s HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % path.encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"ERROR_REASON_MALFORMED_REQUEST" in answer


LONG = "x" * 20_000
"""More than fits into the trailers that an error travels in."""

SAME: list[Any] = [
    pytest.param(
        ("POST", "/api/v1/shorten", {"url": "javascript:x", "alias": "/", "redirect_status": 200, "ttl_seconds": -1}),
        links.CreateLinkRequest(url="javascript:x", alias="/", redirect_status=200, ttl_seconds=-1),
        (400, "ERROR_REASON_INVALID_FIELD", [error_details_pb2.BadRequest]),
        id="CreateLink, every field",
    ),
    pytest.param(
        ("POST", "/api/v1/shorten", {"url": "https://a.example/", "alias": "taken-once-for-all"}),
        links.CreateLinkRequest(url="https://a.example/", alias="taken-once-for-all"),
        (409, "ERROR_REASON_ALIAS_TAKEN", [error_details_pb2.ResourceInfo]),
        id="CreateLink, alias taken",
    ),
    pytest.param(
        ("POST", "/api/v1/shorten", {"url": "https://" + "é" * 5000, "alias": "é" * 9000}),
        links.CreateLinkRequest(url="https://" + "é" * 5000, alias="é" * 9000),
        (400, "ERROR_REASON_INVALID_FIELD", [error_details_pb2.BadRequest]),
        id="CreateLink, long",
    ),
    pytest.param(
        ("GET", "/api/v1/urls/nobody-has-this", None),
        links.GetLinkRequest(short_code="nobody-has-this"),
        (404, "ERROR_REASON_LINK_NOT_FOUND", [error_details_pb2.ResourceInfo]),
        id="GetLink",
    ),
    pytest.param(
        ("GET", f"/api/v1/urls/{LONG}", None),
        links.GetLinkRequest(short_code=LONG),
        (404, "ERROR_REASON_LINK_NOT_FOUND", [error_details_pb2.ResourceInfo]),
        id="GetLink, long",
    ),
    pytest.param(
        ("GET", "/api/v1/urls/" + "%C3%A9" * 5000, None),
        links.GetLinkRequest(short_code="é" * 5000),
        (404, "ERROR_REASON_LINK_NOT_FOUND", [error_details_pb2.ResourceInfo]),
        id="GetLink, long in other letters",
    ),
    pytest.param(
        ("DELETE", "/api/v1/urls/no%20code", None),
        links.DeleteLinkRequest(short_code="no code"),
        (404, "ERROR_REASON_LINK_NOT_FOUND", [error_details_pb2.ResourceInfo]),
        id="DeleteLink",
    ),
    pytest.param(
        (
            "PATCH",
            "/api/v1/urls/nobody-has-this",
            {"title": "a\nb", "max_clicks": -1, "update_mask": "title,maxClicks"},
        ),
        links.UpdateLinkRequest(
            short_code="nobody-has-this",
            title="a\nb",
            max_clicks=-1,
            update_mask=FieldMask(paths=["title", "max_clicks"]),
        ),
        (400, "ERROR_REASON_INVALID_FIELD", [error_details_pb2.BadRequest]),
        id="UpdateLink, fields",
    ),
    pytest.param(
        ("PATCH", "/api/v1/urls/nobody-has-this", {"title": ""}),
        links.UpdateLinkRequest(short_code="nobody-has-this", title=""),
        (404, "ERROR_REASON_LINK_NOT_FOUND", [error_details_pb2.ResourceInfo]),
        id="UpdateLink",
    ),
    pytest.param(
        ("POST", "/api/v1/urls/nobody-has-this:undelete", {"etag": '"<é>"'}),
        links.UndeleteLinkRequest(short_code="nobody-has-this", etag='"<é>"'),
        (404, "ERROR_REASON_LINK_NOT_FOUND", [error_details_pb2.ResourceInfo]),
        id="UndeleteLink",
    ),
    pytest.param(
        ("GET", "/api/v1/urls?filter=colour%20%3D%20%22a%2Bb%22+AND&page_size=-1&order_by=luck", None),
        links.ListLinksRequest(filter='colour = "a+b" AND', page_size=-1, order_by="luck"),
        (400, "ERROR_REASON_INVALID_FIELD", [error_details_pb2.BadRequest]),
        id="ListLinks",
    ),
    pytest.param(
        ("POST", "/api/v1/shorten:batch", {}),
        links.BatchCreateLinksRequest(),
        (400, "ERROR_REASON_INVALID_FIELD", [error_details_pb2.BadRequest]),
        id="BatchCreateLinks",
    ),
    pytest.param(
        ("POST", "/api/v1/ratelimit/check", {"descriptors": [{"entries": []}, {"entries": [{"value": "v"}]}]}),
        limits.CheckRequest(
            descriptors=[
                limits.RateLimitDescriptor(),
                limits.RateLimitDescriptor(entries=[limits.RateLimitEntry(value="v")]),
            ]
        ),
        (400, "ERROR_REASON_INVALID_FIELD", [error_details_pb2.BadRequest]),
        id="Check",
    ),
]


@pytest.mark.parametrize(("as_json", "message", "wanted"), SAME)
def test_json_and_grpc_say_the_same(
    api: Api,
    edge_channel: grpc.Channel,
    gateway_channel: grpc.Channel,
    ratelimiter_channel: grpc.Channel,
    as_json: tuple[str, str, Any],
    message: Any,
    wanted: tuple[int, str, list[Any]],
) -> None:
    assert api.shorten(alias="taken-once-for-all").status_code in (200, 409)
    method, path, body = as_json
    http_status, reason, kinds = wanted
    status = status_of_json(api.http.request(method, path, json=body), http_status)
    assert info(status).reason == reason
    assert status_of_problem(api.http.request(method, path, json=body, headers=PROBLEM), http_status) == status
    names = [error_details_pb2.ErrorInfo.DESCRIPTOR.full_name, *(kind.DESCRIPTOR.full_name for kind in kinds)]
    assert [one.TypeName() for one in status.details] == names

    direct = ratelimiter_channel if isinstance(message, limits.CheckRequest) else gateway_channel
    for channel in (edge_channel, direct):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, message)
        assert status_of_rpc(caught.value) == status


def status_of_problem(response: httpx.Response, http_status: int) -> status_pb2.Status:
    """The same of an error that is a problem of RFC 9457, which says the same twice."""
    assert (response.status_code, response.headers["content-type"]) == (http_status, PROBLEM["accept"]), response.text
    assert response.headers["vary"] == "accept"
    body = response.json()
    assert body.pop("type") == "about:blank"
    assert body.pop("title")
    assert body.pop("status") == http_status
    assert body.pop("detail") == body["message"]
    reason = body.pop("reason")
    status = ParseDict(body, status_pb2.Status())
    assert info(status).reason == reason
    return status


@pytest.mark.parametrize(
    ("method", "path", "http_status"),
    [
        ("GET", "/nobody-has-this", 404),
        ("GET", "/a/path/of/nothing", 404),
        ("GET", "/api/v2", 404),
        ("POST", "/nobody-has-this", 405),
        ("GET", "/a%00b", 400),
        ("POST", "/api/v1/shorten", 400),
    ],
)
def test_programs_may_ask_for_problems_everywhere(api: Api, method: str, path: str, http_status: int) -> None:
    plain = status_of_json(api.http.request(method, path), http_status)
    assert status_of_problem(api.http.request(method, path, headers=PROBLEM), http_status) == plain


def call(channel: grpc.Channel, message: Any) -> object:
    """Makes the call that takes such a message."""
    name = type(message).__name__.removesuffix("Request")
    stub = RateLimitServiceStub(channel) if name == "Check" else LinkServiceStub(channel)
    return getattr(stub, name)(message, timeout=TIMEOUT)


def test_every_bad_field_is_named(api: Api) -> None:
    response = api.shorten("ftp://a.example/", alias="a/b", redirect_status=303, expires_at="2001-01-01T00:00:00Z")
    status = status_of_json(response, 400)
    violations = detail(status, error_details_pb2.BadRequest).field_violations
    assert sorted(violation.field for violation in violations) == ["alias", "expires_at", "redirect_status", "url"]
    # The message alone says it, too.
    assert all(f"{v.field}: {v.description}" in status.message for v in violations)


def test_bytes_that_are_no_message(edge_channel: grpc.Channel, gateway_channel: grpc.Channel) -> None:
    for channel in (edge_channel, gateway_channel):
        broken: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/waypost.api.v1.LinkService/CreateLink", request_serializer=None, response_deserializer=None
        )
        for data in (b"\xff\xff\xff", b"\n\x02\xc3\x28"):
            with pytest.raises(grpc.RpcError) as caught:
                broken(data, timeout=TIMEOUT)
            found = info(status_of_rpc(caught.value))
            assert found.reason == "ERROR_REASON_MALFORMED_REQUEST"
            assert found.metadata["method"] == "/waypost.api.v1.LinkService/CreateLink"


def test_methods_that_nobody_serves(edge_channel: grpc.Channel, gateway_channel: grpc.Channel) -> None:
    for channel in (edge_channel, gateway_channel):
        for path in (
            "/waypost.api.v1.LinkService/MakeLinks",
            "/waypost.api.v1.Nothing/Get",
            f"/{LONG[:5000]}/X",
        ):
            nothing: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            with pytest.raises(grpc.RpcError) as caught:
                nothing(b"", timeout=TIMEOUT)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert info(status_of_rpc(caught.value)).reason == "ERROR_REASON_UNKNOWN_METHOD"


@pytest.mark.parametrize("size", [65_537, 3 * 1024 * 1024])
def test_messages_that_are_too_large_for_their_method(
    edge_channel: grpc.Channel, gateway_channel: grpc.Channel, size: int
) -> None:
    """Also on the gateway's own port, which has to let through what the largest of its methods takes."""
    message = links.CreateLinkRequest(url="x" * (size - 5))
    message.url += "x" * (size - message.ByteSize())
    assert message.ByteSize() == size
    for channel in (edge_channel, gateway_channel):
        with pytest.raises(grpc.RpcError) as caught:
            LinkServiceStub(channel).CreateLink(message, timeout=TIMEOUT)
        status = status_of_rpc(caught.value)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert info(status).reason == "ERROR_REASON_REQUEST_TOO_LARGE"
        assert "larger than 65,536 bytes" in status.message


def test_large_headers_within_the_edges_bound_are_served(api: Api) -> None:
    """What the edge lets through the services take: cookies of a neighbour on the same host are not ours to refuse."""
    code = api.code()
    response = api.http.get(f"/api/v1/urls/{code}", headers={"cookie": "x" * 31_000})
    assert (response.status_code, response.json()["short_code"]) == (200, code)
    assert api.http.get(f"/{code}", headers={"cookie": "x" * 31_000}).status_code == 302
    status = status_of_json(api.http.get(f"/{code}", headers={"cookie": "x" * 33_000}), 431)
    assert info(status).reason == "ERROR_REASON_REQUEST_TOO_LARGE"


def test_errors_do_not_break_what_goes_on_beside_them(api: Api) -> None:
    """A refusal that does not fit its trailers would cost the edge a connection, and all that is under way on it."""
    api.http.get(f"/api/v1/urls/{LONG}")
    code = api.code(alias=fresh_alias())
    assert api.http.get(f"/{code}").status_code == 302
    admin = f"http://127.0.0.1:{api.mesh.ports['envoy_admin']}"
    with httpx.Client(trust_env=False) as client:
        text = client.get(
            f"{admin}/stats", params={"filter": r"^cluster\.gateway\..*(protocol_error|ejections_active)$"}
        )
    assert text.text
    assert all(line.endswith(": 0") for line in text.text.splitlines()), text.text
