"""One id from the edge to the last log line and event."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.api import Api, fresh_alias
from tests.support.mesh import Mesh
from tests.support.postgres import run
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

CREATE = "/waypost.api.v1.LinkService/CreateLink"
CHECK = "/waypost.api.v1.RateLimitService/Check"


def logged(path: Path, own_id: str) -> list[dict[str, Any]]:
    """The lines of a service's log that carry the id; asserts that each is JSON."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if own_id in line]
    return [line for line in lines if line.get("correlation_id") == own_id]


def wait_logged(mesh: Mesh, process: str, own_id: str) -> dict[str, Any]:
    """The only such line; the answer may be there before it."""
    run(until(lambda: bool(logged(mesh.log_path(process), own_id))))
    (line,) = logged(mesh.log_path(process), own_id)
    return line


def check_everywhere(api: Api, own_id: str, short_code: str) -> None:
    """Asserts that the create with this id can be followed from process to process."""
    gateway = wait_logged(api.mesh, "gateway", own_id)
    assert (gateway["rpc"], gateway["code"], gateway["service"]) == (CREATE, "OK", "gateway")
    assert gateway["duration_ms"] > 0
    limiter = wait_logged(api.mesh, "ratelimiter", own_id)
    assert (limiter["rpc"], limiter["code"], limiter["service"]) == (CHECK, "OK", "ratelimiter")
    assert api.sql("SELECT correlation_id FROM outbox WHERE subject = $1", short_code)[0][0] == own_id


def test_the_callers_own_id(api: Api) -> None:
    own_id = fresh_alias()
    response = api.http.post(
        "/api/v1/shorten", json={"url": "https://a.example/"}, headers={"x-correlation-id": own_id}
    )
    assert response.headers["x-correlation-id"] == own_id
    check_everywhere(api, own_id, response.json()["short_code"])


def test_an_id_that_the_edge_makes(api: Api) -> None:
    response = api.shorten()
    own_id = response.headers["x-correlation-id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", own_id)
    check_everywhere(api, own_id, response.json()["short_code"])


def test_over_grpc(api: Api, links_channel: grpc.Channel) -> None:
    own_id = fresh_alias()
    link, call = LinkServiceStub(links_channel).CreateLink.with_call(
        links.CreateLinkRequest(url="https://a.example/"), timeout=10, metadata=(("x-correlation-id", own_id),)
    )
    assert dict(call.trailing_metadata())["x-correlation-id"] == own_id
    check_everywhere(api, own_id, link.short_code)


@pytest.mark.parametrize(
    ("method", "path", "http_status"),
    [("GET", "/api/v1/urls/nobody-has-this", 404), ("POST", "/api/v1/shorten", 400), ("GET", "/api/v1/nope", 404)],
)
def test_errors_carry_it(api: Api, method: str, path: str, http_status: int) -> None:
    own_id = fresh_alias()
    response = api.http.request(method, path, headers={"x-correlation-id": own_id})
    assert (response.status_code, response.headers["x-correlation-id"]) == (http_status, own_id)


def test_redirects_carry_it(api: Api) -> None:
    own_id = fresh_alias()
    for path in (f"/{api.code()}", "/nobody-has-this"):
        assert api.http.get(path, headers={"x-correlation-id": own_id}).headers["x-correlation-id"] == own_id


@pytest.mark.parametrize("forged", ["q7 z9", "q7z9" * 33, "<q7z9>", '"}{"q7z9":"error"'])
def test_an_id_that_is_none_gets_into_no_log(api: Api, forged: str) -> None:
    code = api.code()
    response = api.http.delete(f"/api/v1/urls/{code}", headers={"x-correlation-id": forged})
    assert response.status_code == 200
    deleted = "SELECT correlation_id FROM outbox WHERE subject = $1 AND type = 'link_deleted'"
    own_id = api.sql(deleted, code)[0][0]
    assert own_id != forged
    assert wait_logged(api.mesh, "gateway", own_id)["rpc"] == "/waypost.api.v1.LinkService/DeleteLink"
    assert forged not in api.mesh.log_path("gateway").read_text()


def test_no_log_has_a_query_or_a_destination(api: Api) -> None:
    """Both may hold secrets: tokens to log in by, addresses, names."""
    secret = f"token={fresh_alias()}"
    own_id = fresh_alias()
    code = api.code(f"https://a.example/?{secret}")
    api.http.get(f"/{code}?{secret}")
    api.shorten(f"javascript:{secret}")
    api.http.get(f"/api/v1/urls/{code}?{secret}", headers={"x-correlation-id": own_id})
    wait_logged(api.mesh, "gateway", own_id)
    for path in (api.mesh.data / "logs").iterdir():
        assert secret not in path.read_text(), path.name
