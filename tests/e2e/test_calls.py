"""Every call of the contract, over gRPC on both ways in and as JSON."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from tests.e2e.api import Api, fresh_alias
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh
from waypost.api.v1 import job_service_pb2 as jobs
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1 import rate_limit_service_pb2 as limits
from waypost.api.v1.job_service_pb2_grpc import JobServiceStub
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub

# RFC 3339 as proto3 JSON has it: UTC, with as many groups of three digits as it takes.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{3}|\d{6}))?Z")
CODE = re.compile(r"[2-9A-HJ-NP-Za-km-np-z]{7}")
TIMEOUT = 10.0

JSON_ENDS = [
    pytest.param({}, None, id="never"),
    pytest.param({"ttl_seconds": 3600}, timedelta(hours=1), id="ttl"),
    # Numbers may come as strings in proto3 JSON, and names in camel case.
    pytest.param({"ttlSeconds": "3600"}, timedelta(hours=1), id="ttl, spelled otherwise"),
]


def check(address: str) -> limits.CheckRequest:
    entries = [
        limits.RateLimitEntry(key="route_class", value="create"),
        limits.RateLimitEntry(key="remote_address", value=address),
    ]
    return limits.CheckRequest(domain="waypost", descriptors=[limits.RateLimitDescriptor(entries=entries)])


@pytest.mark.parametrize(("fields", "lives"), JSON_ENDS)
def test_create_and_get_as_json(api: Api, fields: dict[str, object], lives: timedelta | None) -> None:
    response = api.shorten("https://example.com/a?b=c", **fields)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    link = response.json()
    names = (
        "short_code short_url original_url state created_at updated_at redirect_status etag destination_flags "
        "title tags max_clicks clicks_used forward_query"
    )
    assert link.keys() == {*names.split(), *(["expires_at"] if lives else [])}
    assert CODE.fullmatch(link["short_code"])
    assert link["short_url"] == f"{api.mesh.http_url}/{link['short_code']}"
    assert link["original_url"] == "https://example.com/a?b=c"
    assert (link["state"], link["redirect_status"], link["destination_flags"]) == ("LINK_STATE_ACTIVE", 302, [])
    assert isinstance(link["etag"], str)
    assert link["etag"]
    times = [value for name, value in link.items() if name.endswith("_at")]
    assert all(TIME.fullmatch(time) for time in times)
    made = datetime.fromisoformat(link["created_at"])
    assert abs(datetime.now(UTC) - made) < timedelta(seconds=10)
    if lives is not None:
        assert abs(datetime.fromisoformat(link["expires_at"]) - made - lives) < timedelta(seconds=1)
    assert api.link(link["short_code"]) == link


def test_all_fields_of_a_link(api: Api) -> None:
    alias = fresh_alias()
    ends = "2098-12-31T23:59:59.999999Z"
    link = api.make("http://xn--80ak6aa92e.com/", alias=alias, expires_at=ends, redirect_status=308)
    assert link["short_code"] == alias
    assert (link["expires_at"], link["redirect_status"]) == (ends, 308)
    assert link["destination_flags"] == ["DESTINATION_FLAG_INTERNATIONAL_HOST", "DESTINATION_FLAG_CONFUSABLE"]
    # What is chosen by offset, by name in another way or not at all is the same time, status, alias.
    other = api.make(expiresAt="2099-01-01T01:59:59.999999+02:00", redirectStatus=301, alias="")
    assert (other["expires_at"], other["redirect_status"]) == (ends, 301)
    assert CODE.fullmatch(other["short_code"])


def test_delete_as_json(api: Api) -> None:
    before = api.make()
    path = f"/api/v1/urls/{before['short_code']}"
    deleted = api.http.delete(path).json()
    changed = {"state", "updated_at", "etag"}
    assert {name for name in before if deleted[name] != before[name]} == changed
    assert deleted["state"] == "LINK_STATE_DELETED"
    assert deleted["updated_at"] > before["updated_at"]
    again = api.http.delete(path)
    assert (again.status_code, again.json()) == (200, deleted)
    assert api.link(before["short_code"]) == deleted


def test_links_over_grpc(api: Api, links_channel: grpc.Channel) -> None:
    stub = LinkServiceStub(links_channel)
    alias = fresh_alias()
    ends = Timestamp()
    ends.FromJsonString("2098-01-01T00:00:00.000001Z")
    request = links.CreateLinkRequest(
        url="https://example.com/%41?é#f", alias=alias, expires_at=ends, redirect_status=307
    )
    link = stub.CreateLink(request, timeout=TIMEOUT)
    assert (link.short_code, link.short_url) == (alias, f"{api.mesh.http_url}/{alias}")
    assert (link.original_url, link.redirect_status, link.expires_at) == ("https://example.com/%41?é#f", 307, ends)
    assert stub.GetLink(links.GetLinkRequest(short_code=alias), timeout=TIMEOUT) == link

    resolve = links.ResolveLinkRequest(short_code=alias)
    answer = stub.ResolveLink(resolve, timeout=TIMEOUT)
    assert (answer.short_code, answer.http_status, answer.location) == (alias, 307, "https://example.com/%41?%C3%A9#f")
    assert answer.state == links.LINK_STATE_ACTIVE
    left = ends.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert abs(answer.valid_for.ToTimedelta() - left) < timedelta(seconds=10)

    deleted = stub.DeleteLink(links.DeleteLinkRequest(short_code=alias), timeout=TIMEOUT)
    assert (deleted.state, deleted.etag != link.etag) == (links.LINK_STATE_DELETED, True)
    assert stub.DeleteLink(links.DeleteLinkRequest(short_code=alias), timeout=TIMEOUT) == deleted
    answer = stub.ResolveLink(resolve, timeout=TIMEOUT)
    assert (answer.http_status, answer.location, answer.state) == (410, "", links.LINK_STATE_DELETED)
    assert not answer.HasField("valid_for")


def test_resolve_of_a_code_that_is_not_there(links_channel: grpc.Channel) -> None:
    for code in ("nobody-has-this", "", "a", "%", "x" * 65, "é"):
        request = links.ResolveLinkRequest(short_code=code)
        answer = LinkServiceStub(links_channel).ResolveLink(request, timeout=TIMEOUT)
        assert answer == links.ResolveLinkResponse(short_code=code, http_status=404)


def test_resolve_is_not_to_be_had_as_json(api: Api) -> None:
    code = api.code()
    for path in (f"/api/v1/urls/{code}:resolve", f"/api/v1/resolve/{code}"):
        assert api.http.get(path).status_code == 404


def test_check_over_grpc(ratelimiter_channel: grpc.Channel) -> None:
    address = fresh_alias()
    stub = RateLimitServiceStub(ratelimiter_channel)
    first, second = (stub.Check(check(address), timeout=TIMEOUT).statuses[0] for _ in range(2))
    assert first.rule == "waypost.route_class_create.remote_address"
    assert (first.allowed, first.limit, first.window.ToJsonString()) == (True, 30, "60s")
    assert first.remaining == 119
    # One comes back every two seconds.
    assert second.remaining in (118, 119)


def test_check_as_json(strict: Mesh) -> None:
    body = {
        "domain": "shop",
        "hits_addend": 3,
        "descriptors": [
            {"entries": [{"key": "probe", "value": fresh_alias()}]},
            {"entries": [{"key": "nobody", "value": "knows"}]},
        ],
    }
    response = httpx.post(
        f"{strict.http_url}/api/v1/ratelimit/check",
        json=body,
        headers=headers_of(strict.operator_key),
        trust_env=False,
    )
    assert response.status_code == 200
    # Asked for more than there ever is: nothing was spent, and no time of waiting helps.
    answer = response.json()
    assert answer.keys() == {"allowed", "statuses", "degraded"}
    limited, unlimited = answer["statuses"]
    assert (answer["allowed"], limited["allowed"], limited["remaining"]) == (False, False, 2)
    none = {"allowed": True, "rule": "", "limit": 0, "remaining": 0, "over_limit": False, "degraded": False}
    assert (unlimited, answer["degraded"]) == (none, False)


def test_nobody_outside_spends_what_the_mesh_counts(api: Api, edge_channel: grpc.Channel) -> None:
    """Else one caller could use up another's creates."""
    body = MessageToDict(check("127.0.0.1"), preserving_proto_field_name=True)
    answer = api.http.post("/api/v1/ratelimit/check", json=body | {"hits_addend": 3000})
    assert answer.status_code == 400
    assert "domain" in answer.json()["message"]
    with pytest.raises(grpc.RpcError) as caught:
        RateLimitServiceStub(edge_channel).Check(check("127.0.0.1"), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    # Nor by claiming not to come from outside.
    forged = api.http.post("/api/v1/ratelimit/check", json=body, headers={"x-waypost-edge": ""})
    assert forged.status_code == 400


def test_jobs_are_for_operators(workers_channel: grpc.Channel, edge_channel: grpc.Channel) -> None:
    listed = JobServiceStub(workers_channel).ListJobs(jobs.ListJobsRequest(), timeout=TIMEOUT).jobs
    assert {job.name: job.interval.ToJsonString() for job in listed} == {"answer_sweep": "300s", "expiry_sweep": "1s"}
    job = next(job for job in listed if job.name == "expiry_sweep")
    assert job.last_run.error == ""
    assert abs(datetime.now(UTC) - job.last_run.tick.ToDatetime(tzinfo=UTC)) < timedelta(seconds=10)
    with pytest.raises(grpc.RpcError) as caught:
        JobServiceStub(edge_channel).ListJobs(jobs.ListJobsRequest(), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
