"""What is asked for twice under one key is done once, and answered with the same bytes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from uuid import uuid4

import asyncpg
import grpc
import httpx
import pytest
from google.protobuf.json_format import Parse
from google.rpc import error_details_pb2, status_pb2

from tests.e2e.api import (
    Api,
    bad_fields,
    bad_fields_of,
    calling_from,
    detail,
    fresh_alias,
    info,
    refused,
    status_of_json,
    status_of_rpc,
)
from tests.e2e.mutations import HEADER, MUTATIONS, Mutation
from tests.support.credentials import principal_of
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.model import DEFAULT_WORKSPACE

RIVALS = 20
LOCK_SECONDS = 1.0
"""How long the gateway waits for whoever holds a key."""
KEYS = "SELECT answer FROM idempotency_keys WHERE method = $1 AND key = $2"

each_mutation = pytest.mark.parametrize("method", MUTATIONS)


@pytest.fixture
def key() -> str:
    return str(uuid4())


@pytest.fixture(params=["json", "edge", "control"])
def make(
    request: pytest.FixtureRequest, api: Api, edge_channel: grpc.Channel, gateway_channel: grpc.Channel
) -> Callable[[Mutation, str, str], bytes]:
    """Makes a change in one of the three ways; the raw bytes of its answer."""
    way = str(request.param)

    def make(mutation: Mutation, field: str = "", header: str = "") -> bytes:
        if way == "json":
            response = mutation.json(api.http, field=field, header=header)
            assert response.status_code == 200, response.text
            return response.content
        channel = edge_channel if way == "edge" else gateway_channel
        return mutation.rpc(channel, field=field, header=header)

    return make


@pytest.fixture
async def owner(api: Api) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(api.mesh.owner_dsn(), timeout=10)
    yield connection
    await connection.close()


@contextmanager
def nothing_happens(api: Api, mutation: Mutation) -> Iterator[None]:
    """Asserts that neither a link nor its events change within the block."""
    before = mutation.events(api), [api.link(code) for code in mutation.codes]
    yield
    assert (mutation.events(api), [api.link(code) for code in mutation.codes]) == before


@each_mutation
def test_the_same_again_is_the_same_bytes(
    api: Api, make: Callable[[Mutation, str, str], bytes], method: str, key: str
) -> None:
    mutation = MUTATIONS[method](api)
    first = make(mutation, key, "")
    assert [told[-1] for told in mutation.events(api)] == [mutation.event] * len(mutation.codes)
    with nothing_happens(api, mutation):
        for _ in range(3):
            assert make(mutation, key, "") == first
    # Also when the answer is no longer the truth.
    assert mutation.change().status_code == 200
    with nothing_happens(api, mutation):
        assert make(mutation, key, "") == first


@each_mutation
def test_field_and_header_name_the_same_key_in_every_way_of_asking(
    api: Api, edge_channel: grpc.Channel, gateway_channel: grpc.Channel, method: str, key: str
) -> None:
    mutation = MUTATIONS[method](api)
    first = mutation.json(api.http, header=key)
    assert first.status_code == 200
    (row,) = api.sql(KEYS, method, key)
    kept: bytes = row["answer"]
    with nothing_happens(api, mutation):
        for channel in (edge_channel, gateway_channel):
            assert mutation.rpc(channel, field=key) == kept
            assert mutation.rpc(channel, header=key) == kept
            assert mutation.rpc(channel, field=key, header=key) == kept
        assert mutation.json(api.http, field=key).content == first.content
        assert mutation.json(api.http, field=key, header=key).content == first.content
    kind = pb.BatchCreateLinksResponse if method == "BatchCreateLinks" else pb.Link
    assert Parse(first.text, kind()) == kind.FromString(kept)


@each_mutation
def test_two_keys_that_differ_are_refused(
    api: Api, edge_channel: grpc.Channel, gateway_channel: grpc.Channel, method: str, key: str
) -> None:
    mutation = MUTATIONS[method](api)
    before = mutation.events(api)
    found = [bad_fields(mutation.json(api.http, field=key, header=key.upper()))]
    for channel in (edge_channel, gateway_channel):
        status = refused(lambda channel=channel: mutation.rpc(channel, field=key, header=key.upper()))  # type: ignore[misc]
        found.append(bad_fields_of(status))
    assert [list(fields) for fields in found] == [["request_id"]] * 3
    assert all("differs" in fields["request_id"] for fields in found)
    assert mutation.events(api) == before


@each_mutation
def test_another_request_under_the_same_key_is_refused(
    api: Api, edge_channel: grpc.Channel, method: str, key: str
) -> None:
    mutation, other = MUTATIONS[method](api), MUTATIONS[method](api)
    first = mutation.json(api.http, field=key).content
    before = other.events(api)
    in_json = status_of_json(other.json(api.http, header=key), 409)
    over_grpc = refused(lambda: other.rpc(edge_channel, field=key))
    assert in_json == over_grpc
    assert (in_json.code, info(in_json).reason) == (6, "ERROR_REASON_IDEMPOTENCY_KEY_REUSED")
    assert info(in_json).metadata["request_id"] == key
    assert other.events(api) == before
    # Neither is lost by it: the first answer stands, and the other request is made under its own key.
    assert mutation.json(api.http, field=key).content == first
    assert other.json(api.http, field=str(uuid4())).status_code == 200


def test_the_slightest_difference_makes_another_request(api: Api, key: str) -> None:
    fields: dict[str, object] = {
        "url": "https://a.example/",
        "alias": fresh_alias(),
        "tags": ["a", "b"],
        "ttl_seconds": 60,
        "request_id": key,
    }

    def shorten(**other: object) -> httpx.Response:
        return api.send("POST", "/api/v1/shorten", {**fields, **other})

    first = shorten()
    assert first.status_code == 200
    others: list[dict[str, object]] = [
        {"tags": ["b", "a"]},
        {"tags": ["a"]},
        {"ttl_seconds": 61},
        {"title": "x"},
        {"url": "https://a.example/#"},
        {"redirect_status": 302},
    ]
    for other in others:
        assert info(status_of_json(shorten(**other), 409)).reason == "ERROR_REASON_IDEMPOTENCY_KEY_REUSED", other
    # What is spelled otherwise but means the same is the same.
    same = shorten(ttl_seconds="60", title="", max_clicks=0)
    assert (same.status_code, same.content) == (200, first.content)


def test_each_method_has_its_own_keys(api: Api, key: str) -> None:
    code = str(api.make(request_id=key)["short_code"])
    assert api.update(code, title="x", request_id=key).json()["title"] == "x"
    assert api.delete(code, request_id=key).json()["state"] == "LINK_STATE_DELETED"
    assert api.undelete(code, request_id=key).json()["state"] == "LINK_STATE_ACTIVE"
    assert "link" in api.results([{"url": "https://a.example/"}], request_id=key)[0]
    assert api.told(code) == ["created", "updated", "deleted", "updated"]


def test_failures_are_not_kept(api: Api, key: str) -> None:
    """The same request under the same key may succeed once the cause is gone, and a mended one at once."""
    alias = fresh_alias()
    missing = api.update(alias, title="x", request_id=key)
    assert missing.status_code == 404
    assert api.delete(alias, request_id=key).status_code == 404
    api.make(alias=alias)
    assert api.update(alias, title="x", request_id=key).json()["title"] == "x"
    assert api.delete(alias, request_id=key).status_code == 200
    late = str(uuid4())
    assert info(status_of_json(api.update(alias, title="y", request_id=late), 400)).reason == (
        "ERROR_REASON_LINK_DELETED"
    )
    assert api.undelete(alias).status_code == 200
    assert api.update(alias, title="y", request_id=late).json()["title"] == "y"

    mended = str(uuid4())
    assert api.shorten(alias=alias, request_id=mended).status_code == 409
    assert api.shorten("ftp://a.example/", request_id=mended).status_code == 400
    other = fresh_alias()
    assert api.shorten(alias=other, request_id=mended).json()["short_code"] == other
    assert api.told(other) == ["created"]


def test_a_batch_keeps_what_failed_in_it(api: Api, key: str) -> None:
    """It is answered as a whole, so the same request gets the same refusals although they would no longer be given."""
    alias = fresh_alias()
    requests = [{"url": "https://a.example/", "alias": alias}] * 2 + [{"url": "https://a.example/", "alias": "a/b"}]
    first = api.batch(requests, request_id=key)
    assert [list(result) for result in first.json()["results"]] == [["link"], ["error"], ["error"]]
    assert api.batch(requests, request_id=key).content == first.content
    nothing = api.batch([{"url": "no"}], request_id=str(uuid4()))
    assert nothing.status_code == 200


@pytest.mark.parametrize("way", ["json", "edge"])
def test_rivals_with_one_key_make_one_link(api: Api, edge_channel: grpc.Channel, way: str, key: str) -> None:
    mutation = Mutation(
        pb.CreateLinkRequest(url="https://a.example/rivals", title=key), (), "created", lambda: api.http.get("/")
    )
    together = Barrier(RIVALS, timeout=10)

    def once() -> bytes | status_pb2.Status:
        if way == "json":
            response = mutation.json(api.http, header=key)
            return response.content if response.status_code == 200 else status_of_json(response, response.status_code)
        try:
            return mutation.rpc(edge_channel, field=key)
        except grpc.RpcError as error:
            return status_of_rpc(error)

    def ask(_: int) -> bytes:
        together.wait()
        # More of them than the gateway has connections: on a slow machine the last ones may be sent away at first.
        while isinstance(answer := once(), status_pb2.Status):
            assert info(answer).reason == "ERROR_REASON_OVERLOADED", answer
        return answer

    with ThreadPoolExecutor(RIVALS) as pool:
        (answer,) = set(pool.map(ask, range(RIVALS)))
    (row,) = api.sql("SELECT short_code FROM links WHERE title = $1", key)
    link = pb.Link.FromString(answer) if way == "edge" else Parse(answer.decode(), pb.Link())
    assert link.short_code == row["short_code"]
    assert api.told(link.short_code) == ["created"]


def test_each_caller_has_its_own_keys(api: Api, stranger: Api, key: str) -> None:
    """Also in one workspace, and also those who are nobody: what one was told, no other can ask for."""
    fields: dict[str, object] = {"url": "https://a.example/", "request_id": key}
    others = [api.http, stranger.http]
    with calling_from("127.0.1.21", api.mesh, api.mesh.key_blocking()) as another:
        others.append(another)
        codes = {caller.post("/api/v1/shorten", json=fields).json()["short_code"] for caller in others}
        assert len(codes) == len(others)
        again = {caller.post("/api/v1/shorten", json=fields).json()["short_code"] for caller in others}
    assert again == codes


def test_without_a_key_each_request_is_its_own(api: Api) -> None:
    first, second = (api.code("https://a.example/twice") for _ in range(2))
    assert first != second
    # An empty header is none.
    answers = {api.send("POST", "/api/v1/shorten", {"url": "https://a.example/"}, **{HEADER: ""}) for _ in range(2)}
    assert len({answer.json()["short_code"] for answer in answers}) == 2


VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@pytest.mark.parametrize("key", [VISIBLE, "x" * 128, "0", "'; DROP TABLE links; --", "%s{}$1"])
def test_keys_of_any_visible_characters(api: Api, gateway_channel: grpc.Channel, key: str) -> None:
    key = key.replace(" ", "_")
    mutation = MUTATIONS["UpdateLink"](api)
    answer = mutation.rpc(gateway_channel, field=key)
    with nothing_happens(api, mutation):
        assert mutation.rpc(gateway_channel, header=key) == answer
        assert mutation.json(api.http, field=key).status_code == 200
        assert mutation.json(api.http, header=key).status_code == 200


BAD_KEYS = [
    pytest.param("x" * 129, id="too long"),
    pytest.param("a b", id="a space"),
    pytest.param(" ", id="nothing but a space"),
    pytest.param("clé", id="another letter"),
    pytest.param("a\tb", id="a tab"),
    pytest.param("a\nb", id="a new line"),
    pytest.param("a\x00b", id="a zero"),
    pytest.param("a\x7fb", id="a control character"),
    pytest.param("🔑", id="an emoji"),
]


@each_mutation
@pytest.mark.parametrize("bad", BAD_KEYS)
def test_bad_keys_in_the_field_are_refused(api: Api, gateway_channel: grpc.Channel, method: str, bad: str) -> None:
    mutation = MUTATIONS[method](api)
    before = mutation.events(api)
    for fields in (
        bad_fields(mutation.json(api.http, field=bad)),
        bad_fields_of(refused(lambda: mutation.rpc(gateway_channel, field=bad))),
    ):
        assert list(fields) == ["request_id"]
        assert "128 visible ASCII characters" in fields["request_id"]
    assert mutation.events(api) == before


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"x" * 129, id="too long"),
        pytest.param(b"a b", id="a space"),
        pytest.param(b"a\tb", id="a tab"),
        pytest.param("clé".encode(), id="another letter"),
        pytest.param("clé".encode("latin-1"), id="bytes that are no text"),
        pytest.param("🔑".encode(), id="an emoji"),
    ],
)
def test_bad_keys_in_the_header_are_refused(api: Api, bad: bytes) -> None:
    title = str(uuid4())
    response = api.http.post(
        "/api/v1/shorten",
        json={"url": "https://a.example/", "title": title},
        headers=[(HEADER.encode(), bad)],
    )
    assert list(bad_fields(response)) == [HEADER]
    assert api.sql("SELECT 1 FROM links WHERE title = $1", title) == []


async def test_a_key_whose_first_request_takes_long(
    api: Api, edge_channel: grpc.Channel, owner: asyncpg.Connection, owner_key: str, key: str
) -> None:
    mutation = MUTATIONS["CreateLink"](api)
    # As the first request does: the key is taken, and what it will be answered is not known yet.
    async with owner.transaction() as first:
        del first
        await _take(owner, "CreateLink", key, owner_key)
        for in_json in (True, False):
            began = time.monotonic()
            if in_json:
                response = mutation.json(api.http, header=key)
                status = status_of_json(response, 409)
                assert response.headers["retry-after"] == "1"
            else:
                status = refused(lambda: mutation.rpc(edge_channel, field=key))
            assert time.monotonic() - began >= LOCK_SECONDS * 0.9
            assert (status.code, info(status).reason) == (10, "ERROR_REASON_IDEMPOTENCY_KEY_IN_USE")
            assert info(status).metadata["request_id"] == key
            assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() == 1.0
        await owner.execute("DELETE FROM idempotency_keys WHERE key = $1", key)
    assert mutation.events(api) == [[]]
    assert mutation.json(api.http, header=key).status_code == 200
    assert mutation.events(api) == [["created"]]


async def test_a_key_whose_first_request_is_undone_is_the_next_ones(
    api: Api, owner: asyncpg.Connection, owner_key: str, key: str
) -> None:
    """Who waits for a rival that fails does the work himself, and asks nobody to come again."""
    mutation = MUTATIONS["CreateLink"](api)
    rival = owner.transaction()
    await rival.start()
    await _take(owner, "CreateLink", key, owner_key)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(mutation.json, api.http, header=key)
        watcher = await asyncpg.connect(api.mesh.owner_dsn(), timeout=10)
        try:

            async def waits() -> bool:
                return bool(
                    await watcher.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gateway'"
                        " AND wait_event_type = 'Lock'"
                    )
                )

            await until(waits)
        finally:
            await rival.rollback()
            await watcher.close()
        assert asking.result(10).status_code == 200
    assert mutation.events(api) == [["created"]]


@each_mutation
async def test_after_a_day_a_key_is_free_again(api: Api, owner: asyncpg.Connection, method: str, key: str) -> None:
    mutation, other = MUTATIONS[method](api), MUTATIONS[method](api)
    assert mutation.json(api.http, field=key).status_code == 200
    await _age(owner, key, "23 hours 59 minutes")
    assert other.json(api.http, field=key).status_code == 409
    await _age(owner, key, "24 hours")
    second = other.json(api.http, field=key)
    assert second.status_code == 200
    assert [told[-1] for told in other.events(api)] == [other.event] * len(other.codes)
    # From now on it is the other one's, for another day.
    assert other.json(api.http, field=key).content == second.content
    assert mutation.json(api.http, field=key).status_code == 409


async def test_the_workers_forget_answers_after_a_day(api: Api, owner: asyncpg.Connection) -> None:
    old, young = str(uuid4()), str(uuid4())
    for key in (old, young):
        api.make(request_id=key)
    await _age(owner, old, "24 hours 1 second")
    await _age(owner, young, "23 hours 59 minutes")
    # The tick of these five minutes is over: it is made to come once more.
    await owner.execute("DELETE FROM job_runs WHERE job = 'answer_sweep'")

    async def swept() -> bool:
        return bool(await owner.fetchval("SELECT finished_at FROM job_runs WHERE job = 'answer_sweep'"))

    await until(swept, seconds=20)
    (run,) = await owner.fetch("SELECT affected, error FROM job_runs WHERE job = 'answer_sweep'")
    assert run["error"] == ""
    assert run["affected"] >= 1
    left = await owner.fetch("SELECT key FROM idempotency_keys WHERE key = ANY($1)", [old, young])
    assert [row["key"] for row in left] == [young]


async def _take(owner: asyncpg.Connection, method: str, key: str, api_key: str) -> None:
    """As a request of the holder of `api_key` would."""
    await owner.execute(
        "INSERT INTO idempotency_keys (workspace_id, principal, method, key, fingerprint)"
        " VALUES ($1, $2, $3, $4, sha256(''))",
        DEFAULT_WORKSPACE,
        principal_of(api_key),
        method,
        key,
    )


async def _age(owner: asyncpg.Connection, key: str, age: str) -> None:
    done = await owner.execute(
        "UPDATE idempotency_keys SET created_at = clock_timestamp() - $2::text::interval WHERE key = $1", key, age
    )
    assert done == "UPDATE 1"
