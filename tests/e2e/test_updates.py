"""Links that change: what is asked for and nothing else, by whoever knows their present state, and seen at once."""

from __future__ import annotations

import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2

from tests.e2e.api import (
    Api,
    bad_fields,
    bad_fields_of,
    detail,
    fresh_alias,
    info,
    refused,
    status_of_json,
)
from waypost.api.v1 import link_service_pb2 as links
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

TIMEOUT = 10.0
SEEN_SECONDS = 5.0
"""How soon every replica follows a change: a second, and what a busy machine adds."""
RIVALS = 30
FULL: dict[str, object] = {
    "url": "https://a.example/full?x=1#f",
    "title": "Everything",
    "tags": ["one", "two"],
    "expires_at": "2098-01-01T00:00:00Z",
    "max_clicks": 100,
    "redirect_status": 307,
    "forward_query": True,
}
SHOWN = {"url": "original_url"}
STAMPS = {"updated_at", "etag"}


def full(api: Api) -> dict[str, Any]:
    """A new link that has everything a link can have."""
    response = api.send("POST", "/api/v1/shorten", FULL)
    assert response.status_code == 200, response.text
    link: dict[str, Any] = response.json()
    return link


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What differs, by its new value; None: it is gone."""
    return {name: after.get(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("fields", "differs"),
    [
        ({"url": "https://b.example/"}, {"original_url": "https://b.example/"}),
        ({"url": "https://münchen.example/ü"}, {"original_url": "https://xn--mnchen-3ya.example/ü"}),
        ({"title": "Neu 🆕"}, {"title": "Neu 🆕"}),
        ({"title": ""}, {"title": ""}),
        ({"tags": ["two", "three"]}, {"tags": ["two", "three"]}),
        ({"tags": ["two", "one"]}, {"tags": ["two", "one"]}),
        ({"expires_at": "2097-01-01T00:00:00.000001Z"}, {"expires_at": "2097-01-01T00:00:00.000001Z"}),
        ({"max_clicks": 7}, {"max_clicks": 7}),
        ({"max_clicks": 0}, {"max_clicks": 0}),
        ({"redirect_status": 301}, {"redirect_status": 301}),
        ({"redirect_status": 0}, {"redirect_status": 302}),
        ({"forward_query": False}, {"forward_query": False}),
        (
            {"title": "a", "tags": ["b"], "redirectStatus": 308},
            {"title": "a", "tags": ["b"], "redirect_status": 308},
        ),
    ],
)
def test_fields_that_are_there_change_and_others_stay(
    api: Api, fields: dict[str, object], differs: dict[str, object]
) -> None:
    before = full(api)
    after = api.updated(before["short_code"], **fields)
    found = changed(before, after)
    assert found.keys() >= STAMPS
    if "münchen" in str(fields):
        assert found.pop("destination_flags") == ["DESTINATION_FLAG_INTERNATIONAL_HOST"]
    assert {name: value for name, value in found.items() if name not in STAMPS} == differs
    assert after["updated_at"] > before["updated_at"]
    assert api.link(before["short_code"]) == after
    assert api.told(before["short_code"]) == ["created", "updated"]


CLEARED: dict[str, Any] = {
    "title": "",
    "tags": [],
    "expires_at": None,
    "max_clicks": 0,
    "redirect_status": 302,
    "forward_query": False,
}


@pytest.mark.parametrize("name", CLEARED)
def test_a_mask_clears_what_it_names_and_is_not_there(api: Api, name: str) -> None:
    before = full(api)
    after = api.updated(before["short_code"], update_mask=name)
    assert {key: value for key, value in changed(before, after).items() if key not in STAMPS} == {name: CLEARED[name]}
    # Nor is anything looked at that it does not name.
    again = api.updated(before["short_code"], update_mask=name, url="https://other.example/")
    assert again == after


@pytest.mark.parametrize("mask", ["title,tags,expiresAt", "title,tags,expires_at", "tags,ttl_seconds,title,title"])
@pytest.mark.parametrize("name", ["update_mask", "updateMask"])
def test_masks_as_they_may_be_written(api: Api, name: str, mask: str) -> None:
    before = full(api)
    after = api.updated(before["short_code"], title="new", max_clicks=5, **{name: mask})
    differs = {key: value for key, value in changed(before, after).items() if key not in STAMPS}
    assert differs == {"title": "new", "tags": [], "expires_at": None}


def test_a_star_is_all_fields(api: Api) -> None:
    before = full(api)
    response = api.update(before["short_code"], update_mask="*", title="only this")
    assert list(bad_fields(response)) == ["url"]
    assert api.link(before["short_code"]) == before
    after = api.updated(before["short_code"], update_mask="*", title="only this", url="https://b.example/")
    cleared = {**CLEARED, "title": "only this", "original_url": "https://b.example/"}
    assert {key: value for key, value in changed(before, after).items() if key not in STAMPS} == cleared


def test_masks_over_grpc(api: Api, links_channel: grpc.Channel) -> None:
    stub = LinkServiceStub(links_channel)
    code = str(full(api)["short_code"])
    request = links.UpdateLinkRequest(
        short_code=code, url="https://b.example/", title="x", update_mask=FieldMask(paths=["url", "tags", "max_clicks"])
    )
    link = stub.UpdateLink(request, timeout=TIMEOUT)
    assert (link.original_url, link.title, list(link.tags), link.max_clicks) == (
        "https://b.example/",
        "Everything",
        [],
        0,
    )
    assert MessageToDict(link, preserving_proto_field_name=True).items() <= api.link(code).items()
    # What is there although it is zero is there.
    link = stub.UpdateLink(links.UpdateLinkRequest(short_code=code, title="", forward_query=False), timeout=TIMEOUT)
    assert (link.title, link.forward_query, link.original_url) == ("", False, "https://b.example/")


@pytest.mark.parametrize("fields", [{}, {"tags": []}, {"title": None}, {"update_mask": ""}, {"etag": "v1"}])
def test_nothing_to_change_is_refused_with_the_way_to_clear(api: Api, fields: dict[str, object]) -> None:
    before = full(api)
    sentence = bad_fields(api.update(before["short_code"], **fields))
    assert list(sentence) == ["update_mask"]
    assert "to clear it" in sentence["update_mask"]
    assert api.link(before["short_code"]) == before


@pytest.mark.parametrize("path", ["nothing", "short_code", "original_url", "tags.0", "etag", "title,nothing", "_"])
def test_paths_that_are_none(api: Api, links_channel: grpc.Channel, path: str) -> None:
    before = full(api)
    in_json = bad_fields(api.update(before["short_code"], title="x", update_mask=path))
    assert list(in_json) == ["update_mask"]
    assert "forward_query" in in_json["update_mask"]
    request = links.UpdateLinkRequest(
        short_code=before["short_code"], title="x", update_mask=FieldMask(paths=path.split(","))
    )
    over_grpc = bad_fields_of(refused(lambda: LinkServiceStub(links_channel).UpdateLink(request, timeout=TIMEOUT)))
    assert list(over_grpc) == ["update_mask"]
    assert api.link(before["short_code"]) == before


def test_every_bad_field_is_named(api: Api) -> None:
    before = full(api)
    response = api.update(
        before["short_code"],
        url="javascript:x",
        title="a\nb",
        tags=["ok", "a,b", ""],
        ttl_seconds=0,
        max_clicks=-1,
        redirect_status=200,
    )
    assert bad_fields(response).keys() == {
        "url",
        "title",
        "tags[1]",
        "tags[2]",
        "ttl_seconds",
        "max_clicks",
        "redirect_status",
    }
    past = api.update(before["short_code"], expires_at="2001-01-01T00:00:00Z")
    assert list(bad_fields(past)) == ["expires_at"]
    assert api.link(before["short_code"]) == before
    assert api.told(before["short_code"]) == ["created"]


def test_what_changes_nothing_is_no_change(api: Api) -> None:
    before = full(api)
    same = {name: before[SHOWN.get(name, name)] for name in FULL}
    assert api.updated(before["short_code"], **same) == before
    assert api.updated(before["short_code"], title=before["title"], etag=before["etag"]) == before
    assert api.told(before["short_code"]) == ["created"]


def test_an_update_of_another_state_is_refused(api: Api, links_channel: grpc.Channel) -> None:
    first = full(api)
    code = first["short_code"]
    second = api.updated(code, title="second", etag=first["etag"])
    assert second["etag"] != first["etag"]
    request = links.UpdateLinkRequest(short_code=code, title="third", etag=first["etag"])
    for status in (
        status_of_json(api.update(code, title="third", etag=first["etag"]), 409),
        status_of_json(api.delete(code, etag=first["etag"]), 409),
        status_of_json(api.undelete(code, etag=first["etag"]), 409),
        refused(lambda: LinkServiceStub(links_channel).UpdateLink(request, timeout=TIMEOUT)),
    ):
        assert (status.code, info(status).reason) == (10, "ERROR_REASON_ETAG_MISMATCH")
        assert info(status).metadata == {"short_code": code, "etag": second["etag"]}
        assert detail(status, error_details_pb2.ResourceInfo).resource_name == code
    assert api.link(code) == second
    third = api.updated(code, title="third", etag=second["etag"])
    assert third["title"] == "third"
    assert api.delete(code, etag=third["etag"]).status_code == 200


def test_a_deleted_link_is_not_changed_until_it_is_back(api: Api, links_channel: grpc.Channel) -> None:
    before = full(api)
    code = before["short_code"]
    deleted = api.delete(code).json()
    request = links.UpdateLinkRequest(short_code=code, title="x")
    for status in (
        status_of_json(api.update(code, title="x"), 400),
        refused(lambda: LinkServiceStub(links_channel).UpdateLink(request, timeout=TIMEOUT)),
    ):
        assert (status.code, info(status).reason) == (9, "ERROR_REASON_LINK_DELETED")
        assert info(status).metadata["short_code"] == code
    assert api.link(code) == deleted
    back = api.undelete(code).json()
    # Just as it was.
    assert changed(before, back).keys() == STAMPS
    assert api.undelete(code).json() == back
    assert api.updated(code, title="x")["title"] == "x"
    assert api.told(code) == ["created", "deleted", "updated", "updated"]


def test_a_link_redirects_again_as_soon_as_it_is_back(api: Api) -> None:
    code = api.code("https://a.example/back")
    for _ in range(5):
        assert api.redirect(f"/{code}") == (302, b"https://a.example/back")
        api.delete(code)
        assert api.redirect(f"/{code}") == (410, None)
        api.undelete(code)
    assert api.redirect(f"/{code}") == (302, b"https://a.example/back")


@pytest.mark.parametrize("method", ["update", "undelete", "delete"])
def test_links_that_never_were(api: Api, method: str) -> None:
    fields = {"title": "x"} if method == "update" else {}
    for code in ("nobody-has-this", "no%20code", "%C3%A9", "x" * 65):
        status = status_of_json(getattr(api, method)(code, **fields), 404)
        assert info(status).reason == "ERROR_REASON_LINK_NOT_FOUND"
    # A code is told apart by case.
    alias = api.code(alias=fresh_alias() + "-a")
    assert getattr(api, method)(alias.upper(), **fields).status_code == 404


def test_an_update_is_seen_by_redirects_and_never_undone(api: Api) -> None:
    """By those who follow the link all the time: from the answer on the new target, and no older one ever after."""
    targets = [f"https://a.example/target/{number}" for number in range(20)]
    code = api.code(targets[0])
    seen: list[tuple[float, str]] = []
    over = threading.Event()

    def follow() -> None:
        with httpx.Client(base_url=api.mesh.http_url, trust_env=False, timeout=10) as client:
            while not over.is_set():
                began = time.monotonic()
                seen.append((began, client.get(f"/{code}").headers["location"]))

    answered = [0.0]
    with ThreadPoolExecutor(2) as pool:
        followers = [pool.submit(follow) for _ in range(2)]
        try:
            for target in targets[1:]:
                api.updated(code, url=target)
                answered.append(time.monotonic())
                looked = len(seen)
                # Until some have looked, whatever they have seen.
                while len(seen) < looked + 4 and not any(follower.done() for follower in followers):
                    time.sleep(0.001)
        finally:
            over.set()
        for follower in followers:
            follower.result()
    assert len(seen) >= 4 * len(targets[1:])
    for began, location in seen:
        newest = max(place for place, at in enumerate(answered) if at <= began)
        assert targets.index(location) >= newest, "an old target after the answer that told of the new one"


def test_other_changes_are_seen_by_redirects(api: Api) -> None:
    code = api.code("https://a.example/?a=1#f")
    assert api.redirect(f"/{code}?q=1") == (302, b"https://a.example/?a=1#f")
    api.updated(code, redirect_status=308, forward_query=True)
    assert api.redirect(f"/{code}?q=1") == (308, b"https://a.example/?a=1&q=1#f")
    api.updated(code, max_clicks=1)
    assert api.redirect(f"/{code}") == (308, b"https://a.example/?a=1#f")
    assert api.redirect(f"/{code}") == (410, None)
    api.updated(code, max_clicks=2)
    assert api.redirect(f"/{code}")[0] == 308
    assert api.redirect(f"/{code}")[0] == 410
    assert (api.link(code)["state"], api.link(code)["clicks_used"]) == ("LINK_STATE_EXHAUSTED", 2)
    api.updated(code, max_clicks=0)
    assert api.redirect(f"/{code}")[0] == 308


def test_a_new_end_is_the_end(api: Api) -> None:
    code = api.code(ttl_seconds=3600)
    api.sql("UPDATE links SET expires_at = clock_timestamp() - interval '1 hour' WHERE short_code = $1", code)
    deadline = time.monotonic() + SEEN_SECONDS
    while api.redirect(f"/{code}")[0] != 410:
        assert time.monotonic() < deadline
    assert api.link(code)["state"] == "LINK_STATE_EXPIRED"
    # One that is over may be changed, and go on.
    again = api.updated(code, ttl_seconds=60)
    assert again["state"] == "LINK_STATE_ACTIVE"
    left = datetime.fromisoformat(again["expires_at"]) - datetime.now(UTC)
    assert abs(left - timedelta(seconds=60)) < timedelta(seconds=5)
    assert api.redirect(f"/{code}")[0] == 302
    assert "expires_at" not in api.updated(code, update_mask="expires_at")


def test_of_rivals_with_one_etag_one_wins(api: Api) -> None:
    link = full(api)
    code = link["short_code"]
    with ThreadPoolExecutor(RIVALS) as pool:
        for number in range(3):
            titles = [f"round {number} rival {rival}" for rival in range(RIVALS)]
            etag = link["etag"]
            answers = list(pool.map(lambda title, etag=etag: asked(api, code, title, etag), titles))
            (winner,) = (answer for answer in answers if answer.status_code == 200)
            for answer in answers:
                if answer is not winner:
                    reason = info(status_of_json(answer, 409)).reason
                    assert reason == "ERROR_REASON_ETAG_MISMATCH"
            link = api.link(code)
            assert link == winner.json()
    assert api.told(code) == ["created", *["updated"] * 3]


def asked(api: Api, code: str, title: str, etag: str) -> httpx.Response:
    """The answer to an update; who is sent away because the gateway is busy asks again."""
    while True:
        response = api.update(code, title=title, etag=etag)
        if response.status_code != 429:
            return response
        assert info(status_of_json(response, 429)).reason == "ERROR_REASON_OVERLOADED"


def test_updates_and_deletions_at_the_same_time(api: Api) -> None:
    code = full(api)["short_code"]
    answers: list[httpx.Response] = []
    with ThreadPoolExecutor(8) as pool:
        work = []
        for number in range(20):
            work += [
                pool.submit(api.update, code, title=str(number)),
                pool.submit(api.delete, code),
                pool.submit(api.undelete, code),
            ]
        answers = [one.result() for one in work]
    for answer in answers:
        if answer.status_code != 200:
            assert info(status_of_json(answer, 400)).reason == "ERROR_REASON_LINK_DELETED"
    # Every state was one that somebody was told of, each told once, and no version is missing.
    versions = api.sql("SELECT version, type FROM outbox WHERE subject = $1 ORDER BY version", code)
    assert [row["version"] for row in versions] == list(range(1, len(versions) + 1))
    states = {answer.json()["etag"]: answer.json() for answer in answers if answer.status_code == 200}
    last = api.link(code)
    assert states[last["etag"]] == last
    expected = 410 if last["state"] == "LINK_STATE_DELETED" else 307
    assert api.redirect(f"/{code}")[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "Grüße 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "日本語 العربية हिन्दी",
        "<img src=x onerror=alert(1)>",
        '"quotes" \\ & % + \'',
        "=HYPERLINK(1)",
        unicodedata.normalize("NFC", "café"),
    ],
)
def test_titles_and_tags_come_back_as_they_were_given(api: Api, links_channel: grpc.Channel, text: str) -> None:
    code = api.code(title=text, tags=[text[:50].replace(",", "").strip()])
    link = api.link(code)
    assert (link["title"], link["tags"]) == (text, [text[:50].replace(",", "").strip()])
    api.updated(code, title="", tags=["x"])
    after = api.updated(code, title=text, tags=[text[:50], "x"])
    assert (after["title"], after["tags"]) == (text, [text[:50], "x"])
    found = LinkServiceStub(links_channel).GetLink(links.GetLinkRequest(short_code=code), timeout=TIMEOUT)
    assert (found.title, list(found.tags)) == (text, [text[:50], "x"])


def test_tags_are_stored_in_one_form_and_once(api: Api) -> None:
    nfd = unicodedata.normalize("NFD", "café")
    nfc = unicodedata.normalize("NFC", nfd)
    assert nfd != nfc
    code = api.code(tags=[nfd, "b", nfc, "b", "B"])
    assert api.link(code)["tags"] == [nfc, "b", "B"]
    assert api.updated(code, tags=["B", nfd])["tags"] == ["B", nfc]
    # The title is nobody's key and stays as it is.
    assert api.updated(code, title=nfd)["title"] == nfd


def test_the_path_names_the_link(api: Api) -> None:
    code, other = api.code(), api.code()
    assert api.updated(code, short_code=code, title="mine")["title"] == "mine"
    response = api.update(code, short_code=other, title="whose?")
    assert info(status_of_json(response, 400)).reason == "ERROR_REASON_MALFORMED_REQUEST"
    assert api.link(other)["title"] == ""
