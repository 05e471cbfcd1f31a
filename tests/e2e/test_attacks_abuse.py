"""A harmful link, from the stranger who reports it to the day on which it is put back, on every gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from google.rpc import error_details_pb2

from tests.e2e.api import BROWSER, Api, bad_fields, calling_from, detail, info, status_of_json
from tests.e2e.attacks import (
    Answer,
    address_of,
    edge_client,
    gateway_beside,
    grpc_way,
    key_with,
    own_channel,
    request_of,
)
from tests.e2e.storms import Storm
from tests.faults.gateways import Gateway
from tests.support.credentials import headers_of, principal_of
from tests.support.keys import add_workspace
from tests.support.mesh import Mesh
from tests.support.postgres import run
from waypost.access.identity import Role

RESOLVE = "/waypost.api.v1.LinkService/ResolveLink"
OPEN, BLOCKED = 0, 451
BURST = 10
"""Reports by one address at once, as the rules have it that come with Waypost."""


@pytest.fixture
def operator(besieged: Mesh) -> Iterator[Api]:
    with edge_client(besieged) as client:
        client.headers.update(headers_of(besieged.operator_key))
        yield Api(besieged, client)


@pytest.fixture
def owner(besieged: Mesh) -> Iterator[Api]:
    """Of a workspace of their own."""
    workspace = run(add_workspace(besieged.owner_dsn()))
    with edge_client(besieged) as client:
        client.headers.update(headers_of(key_with(besieged, Role.OWNER, workspace_id=workspace)))
        yield Api(besieged, client)


@pytest.fixture
def anybody(besieged: Mesh) -> Iterator[httpx.Client]:
    with edge_client(besieged) as client:
        yield client


def seen(client: httpx.Client, verb: str, url: str, accept: str) -> Answer:
    """Whether a visitor comes further, or is told that the link is blocked."""
    response = client.request(verb, url, headers={"accept": accept})
    status = response.status_code
    if status == BLOCKED:
        assert "location" not in response.headers
        assert "bad.example" not in response.text
    return Answer(OPEN if status in (200, 302) else status, text=response.text)


def resolved(channel: Any, code: str) -> Answer:
    """The same by ResolveLink."""
    answer = grpc_way(channel)(RESOLVE, request_of(RESOLVE, short_code=code), [])
    assert answer.well, answer
    status = answer.body.http_status
    if status == BLOCKED:
        assert not answer.body.location
    return Answer(OPEN if status in (200, 302) else status)


def looks(mesh: Mesh, other: Gateway, stack: ExitStack, code: str) -> list[Callable[[], Answer]]:
    """Everything that shows where a link leads, on both gateways, through the edge and without it."""
    found: list[Callable[[], Answer]] = []
    for base in (mesh.http_url, f"http://127.0.0.1:{mesh.ports['gateway_web']}", other.web_url):
        for verb, path, accept in (
            ("GET", code, BROWSER["accept"]),
            ("HEAD", code, "*/*"),
            ("GET", code, "application/json"),
            ("GET", f"{code}+", BROWSER["accept"]),
            ("GET", f"{code}+", "application/json"),
        ):
            client = stack.enter_context(httpx.Client(trust_env=False, timeout=20))
            found.append(partial(seen, client, verb, f"{base}/{path}", accept))
    for address in (address_of(mesh, "http"), mesh.grpc_address, other.address):
        found.append(partial(resolved, stack.enter_context(own_channel(address)), code))
    return found


async def test_a_reported_link_is_blocked_everywhere_within_a_second_and_put_back(
    besieged: Mesh, operator: Api, owner: Api, anybody: httpx.Client
) -> None:
    async with gateway_beside(besieged) as other:
        await asyncio.to_thread(_whole_story, besieged, other, operator, owner, anybody)


def _whole_story(mesh: Mesh, other: Gateway, operator: Api, owner: Api, anybody: httpx.Client) -> None:
    code = owner.code("https://bad.example/login", title="bait")
    report = anybody.post(
        "/api/v1/report",
        json={
            "link": f"{mesh.http_url}/{code}?utm_source=mail",
            "category": "REPORT_CATEGORY_PHISHING",
            "comment": "It asks for my password.",
            "contact": "ada@example.org",
        },
    )
    assert report.status_code == 200, report.text
    report_id = report.json()["report_id"]
    listed = _report(operator, report_id, closed=False)
    assert (listed["short_code"], listed["original_url"]) == (code, "https://bad.example/login")
    assert (listed["blocked"], listed["comment"]) == (False, "It asks for my password.")
    with ExitStack() as stack, Storm(looks(mesh, other, stack, code)) as storm:
        storm.until_all(OPEN)
        blocked = operator.send("POST", f"/api/v1/abuse/links/{code}:block", {"reason": "phishing of a bank"})
        at = time.monotonic()
        assert blocked.status_code == 200, blocked.text
        storm.goes_on(at, 1.5)
        storm.assert_all_since(at + 1.0, BLOCKED)
        _told(operator, owner, code, report_id)
        unblocked = operator.send("POST", f"/api/v1/abuse/links/{code}:unblock", {"reason": "a mistake"})
        at = time.monotonic()
        assert unblocked.status_code == 200, unblocked.text
        storm.goes_on(at, 1.5)
    storm.assert_all_since(at + 1.0, OPEN)
    assert owner.link(code)["state"] == "LINK_STATE_ACTIVE"
    response = anybody.get(f"/{code}")
    assert (response.status_code, response.headers["location"]) == (302, "https://bad.example/login")
    assert [event["action"] for event in _events(owner, code)] == ["link.unblock", "link.block"]


def _told(operator: Api, owner: Api, code: str, report_id: str) -> None:
    """What operators and owners are told while the link is blocked."""
    link = owner.link(code)
    assert (link["state"], link["original_url"]) == ("LINK_STATE_BLOCKED", "https://bad.example/login")
    assert code in owner.codes(filter="state = blocked")
    (event,) = _events(owner, code)
    assert event["action"] == "link.block"
    assert event["details"]["reason"] == "phishing of a bank"
    assert event["principal"] == principal_of(operator.mesh.operator_key)
    assert _report(operator, report_id, closed=True)["blocked"]
    shown = operator.http.get("/api/v1/abuse/links", params={"page_size": 200}).json()["links"]
    (mine,) = (one for one in shown if one["short_code"] == code)
    assert mine["reason"] == "phishing of a bank"
    # Only operators hear of reports, least of all the link's owner.
    assert "ada@example.org" not in str(owner.http.get("/api/v1/audit").json())


def _events(owner: Api, code: str) -> list[dict[str, Any]]:
    """What the workspace's audit log has of operators' decisions about a link, the newest first."""
    events: list[dict[str, Any]] = owner.http.get("/api/v1/audit", params={"object": code}).json()["events"]
    return [event for event in events if event["action"].endswith("block")]


def _report(operator: Api, report_id: str, *, closed: bool) -> dict[str, Any]:
    params: dict[str, str | int] = {"closed": str(closed).lower(), "page_size": 200}
    reports = operator.http.get("/api/v1/abuse/reports", params=params).json()["reports"]
    (found,) = (one for one in reports if one["report_id"] == report_id)
    result: dict[str, Any] = found
    return result


def test_what_a_report_says_is_checked(besieged: Mesh, anybody: httpx.Client, owner: Api) -> None:
    code = owner.code()

    def report(**fields: object) -> httpx.Response:
        return anybody.post("/api/v1/report", json={"link": code, **fields})

    for link in ("", "https://elsewhere.example/abc1234", "javascript:alert(1)", f"//x@{code}", "http://[::1"):
        assert "link" in bad_fields(report(link=link)), link
    unknown = status_of_json(report(link="nobodys-1"), 404)
    assert info(unknown).reason == "ERROR_REASON_LINK_NOT_FOUND"
    assert "category" in bad_fields(report(category=17))
    assert "comment" in bad_fields(report(comment="x" * 2001))
    assert "contact" in bad_fields(report(contact="a\nb"))
    # Nothing of it can be read by who sent it, or by owners.
    for headers in ({}, {"x-api-key": owner.http.headers["x-api-key"]}):
        assert anybody.get("/api/v1/abuse/reports", headers=headers).status_code in (401, 403)


def test_a_report_blocks_nothing_by_itself(besieged: Mesh, anybody: httpx.Client, owner: Api) -> None:
    """Else anybody could take anybody's link away."""
    code = owner.code()
    for _ in range(50):
        assert anybody.post("/api/v1/report", json={"link": code}).status_code == 200
    assert anybody.get(f"/{code}").status_code == 302
    assert owner.link(code)["state"] == "LINK_STATE_ACTIVE"


def test_reports_are_limited_by_the_address_whatever_it_says_of_itself(mesh: Mesh, api: Api) -> None:
    code = api.code()
    with calling_from("127.0.0.91", mesh) as here, calling_from("127.0.0.92", mesh) as there:

        def report(client: httpx.Client, number: int = 0, **headers: str) -> httpx.Response:
            forged = {"x-forwarded-for": f"192.0.2.{number}", "x-real-ip": f"192.0.2.{number}"}
            return client.post("/api/v1/report", json={"link": code}, headers={**forged, **headers})

        answers = [report(here, number) for number in range(BURST + 3)]
        assert [answer.status_code for answer in answers] == [200] * BURST + [429] * 3
        status = status_of_json(answers[-1], 429)
        assert info(status).reason == "ERROR_REASON_RATE_LIMITED"
        delay = detail(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds()
        assert 0 < delay <= 24 * 3600 / 100
        assert delay <= int(answers[-1].headers["retry-after"]) <= delay + 1
        # What is not well counts too, and nobody else is charged.
        assert here.post("/api/v1/report", json={"link": "https://x.example/"}).status_code == 429
        assert report(there).status_code == 200
        assert report(here, 0, **headers_of(mesh.key_blocking())).status_code == 200
        assert here.get(f"/{code}").status_code == 302
