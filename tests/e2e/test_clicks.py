"""Links with a number of clicks, through the edge: exact under a crowd, and told to nobody who takes none."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import httpx
import pytest

from tests.e2e.api import BROWSER, Api, info, status_of_json
from tests.support.postgres import run
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1 import link_service_pb2_grpc as pb_grpc

URL = "https://secret.example/?own=1#f"
MESSAGES = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 "
    "Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0"
)
ROBOTS = [
    MESSAGES,
    "WhatsApp/2",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "TelegramBot (like TwitterBot)",
]


async def crowd(api: Api, path: str, size: int) -> list[httpx.Response]:
    """The answers to so many visitors at once, each with a connection of their own."""
    limits = httpx.Limits(max_connections=size)
    async with httpx.AsyncClient(base_url=api.mesh.http_url, trust_env=False, timeout=30, limits=limits) as client:
        return await asyncio.gather(*(client.get(path) for _ in range(size)))


@pytest.mark.parametrize("clicks", [1, 20])
def test_a_crowd_gets_exactly_as_many_redirects_as_there_are_clicks(api: Api, clicks: int) -> None:
    code = api.code(URL, max_clicks=clicks)
    responses = run(crowd(api, f"/{code}", 50))
    assert Counter(response.status_code for response in responses) == {302: clicks, 410: 50 - clicks}
    assert {response.headers.get("location") for response in responses} == {URL, None}
    link = api.link(code)
    assert (link["max_clicks"], link["clicks_used"], link["state"]) == (clicks, clicks, "LINK_STATE_EXHAUSTED")


def test_a_link_that_is_used_up_says_so(api: Api) -> None:
    code = api.code(URL, max_clicks=1)
    assert api.redirect(f"/{code}") == (302, URL.encode())
    response = api.http.get(f"/{code}")
    status = status_of_json(response, 410)
    assert (status.code, info(status).reason) == (9, "ERROR_REASON_LINK_EXHAUSTED")
    page = api.http.get(f"/{code}", headers=BROWSER)
    assert page.status_code == 410
    assert "<h1>This link is used up</h1>" in page.text
    assert "secret" not in response.text + page.text


def test_who_does_not_follow_uses_no_click_and_is_not_told_where_it_leads(api: Api, edge_channel: grpc.Channel) -> None:
    code = api.code(URL, max_clicks=1)
    answers = [
        *(api.http.head(f"/{code}", headers=headers) for headers in ({}, BROWSER)),
        *(api.http.get(f"/{code}", headers={"user-agent": robot}) for robot in ROBOTS),
        *(api.http.get(f"/{code}+", headers=headers) for headers in ({}, BROWSER, {"accept": "application/json"})),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert "location" not in answer.headers
        assert "secret" not in answer.text
        assert answer.headers["cache-control"] == "no-store"
    for name, value in {"sec-purpose": "prefetch;prerender", "purpose": "prefetch", "x-moz": "prefetch"}.items():
        ahead = api.http.get(f"/{code}", headers={**BROWSER, name: value})
        assert (ahead.status_code, ahead.headers["cache-control"]) == (503, "no-store")
        assert "retry-after" in ahead.headers
        assert "secret" not in ahead.text
    foretold = pb_grpc.LinkServiceStub(edge_channel).ResolveLink(pb.ResolveLinkRequest(short_code=code), timeout=10)
    assert (foretold.http_status, foretold.location, foretold.state) == (302, "", pb.LINK_STATE_ACTIVE)
    assert api.link(code)["clicks_used"] == 0
    assert api.redirect(f"/{code}") == (302, URL.encode())
    assert api.link(code)["clicks_used"] == 1
    foretold = pb_grpc.LinkServiceStub(edge_channel).ResolveLink(pb.ResolveLinkRequest(short_code=code), timeout=10)
    assert (foretold.http_status, foretold.location, foretold.state) == (410, "", pb.LINK_STATE_EXHAUSTED)


def test_robots_follow_links_without_a_number_of_clicks(api: Api) -> None:
    code = api.code(URL)
    for robot in ROBOTS:
        response = api.http.get(f"/{code}", headers={"user-agent": robot})
        assert (response.status_code, response.headers["location"]) == (302, URL)


def test_more_clicks_open_a_link_again(api: Api) -> None:
    code = api.code(URL, max_clicks=1)
    assert [api.redirect(f"/{code}")[0] for _ in range(2)] == [302, 410]
    link = api.updated(code, max_clicks=3)
    assert (link["state"], link["clicks_used"]) == ("LINK_STATE_ACTIVE", 1)
    assert [api.redirect(f"/{code}")[0] for _ in range(3)] == [302, 302, 410]
    # Any number of them: nothing is counted any more.
    api.updated(code, max_clicks=0)
    assert [api.redirect(f"/{code}")[0] for _ in range(5)] == [302] * 5
    # All of them at once again: those that are used already are among them.
    link = api.updated(code, max_clicks=3)
    assert (link["state"], link["clicks_used"]) == ("LINK_STATE_EXHAUSTED", 3)
    assert api.redirect(f"/{code}")[0] == 410


def test_a_link_that_is_given_a_number_of_clicks_has_exactly_as_many(api: Api) -> None:
    code = api.code(URL)
    assert [api.redirect(f"/{code}")[0] for _ in range(3)] == [302] * 3
    api.updated(code, max_clicks=5)
    responses = run(crowd(api, f"/{code}", 20))
    assert Counter(response.status_code for response in responses) == {302: 5, 410: 15}


@pytest.mark.parametrize(
    ("column", "status"), [("blocked_at", 451), ("deleted_at", 410), ("expires_at", 410), ("warned_at", 200)]
)
def test_what_does_not_redirect_uses_no_click(api: Api, column: str, status: int) -> None:
    code = api.code(URL, max_clicks=5)
    before = api.http.get(f"/{code}+").text
    api.sql(f"UPDATE links SET {column} = now() WHERE short_code = $1", code)  # noqa: S608 - one of four
    run(until(lambda: api.http.get(f"/{code}+").text != before))
    for headers in ({}, BROWSER):
        response = api.http.get(f"/{code}", headers=headers)
        assert response.status_code == status
        assert "secret" not in response.text
    assert api.link(code)["clicks_used"] == 0
