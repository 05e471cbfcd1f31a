"""Keys that are almost right, narrower than what they are used for, expired or revoked: none opens anything."""

from __future__ import annotations

import asyncio
import random
import string
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest
from google.protobuf.message import Message

from tests.e2e.api import Api, status_of_json
from tests.e2e.attacks import (
    CHECK,
    GET_CALLER,
    GET_WORKSPACE,
    LIST_JOBS,
    METHODS,
    Headers,
    Way,
    address_of,
    assert_denied,
    assert_unauthenticated,
    edge_client,
    gateway_beside,
    grpc_way,
    json_way,
    key_with,
    own_channel,
    request_of,
    ways_into,
)
from tests.e2e.conftest import STRICT_GUESSES
from tests.e2e.storms import Storm
from tests.faults.gateways import Gateway
from tests.support.mesh import Mesh
from tests.support.postgres import run
from waypost.access.api_keys import digest_of, new_key, parse_key
from waypost.access.identity import Role, Scope
from waypost.api.v1.key_service_pb2 import CreateKeyResponse
from waypost.api.v1.role_pb2 import ROLE_OPERATOR

CREATE_KEY, REVOKE_KEY, GET_KEY = (f"/waypost.api.v1.KeyService/{name}Key" for name in ("Create", "Revoke", "Get"))
UNAUTHENTICATED = 16
EDGE = ("x-waypost-edge", "1")
SLACK = 0.25
"""Seconds by which a service may misread the database's clock: half of what a heartbeat takes on a busy machine."""


@pytest.fixture(scope="module")
def ways(besieged: Mesh) -> Iterator[dict[str, Way]]:
    with ways_into(besieged) as ways:
        yield ways


def keyed(key: str) -> Headers:
    return [("x-api-key", key)]


def called(way: Way, key: str, method: str = GET_WORKSPACE, **fields: Any) -> Any:
    return way(method, request_of(method, **fields), keyed(key))


def test_a_key_of_which_one_bit_was_changed_is_nobodys(besieged: Mesh, ways: dict[str, Way]) -> None:
    """Every bit of it where no edge helps; at each other way a part of them."""
    key = besieged.key_blocking()
    for way in ways.values():
        assert called(way, key).well
    bits = [(place, bit) for place in range(len(key)) for bit in range(7)]
    for number, (place, bit) in enumerate(bits):
        forged = key[:place] + chr(ord(key[place]) ^ 1 << bit) + key[place + 1 :]
        if not forged.isprintable():
            continue
        names = ["the gateway's port", *([list(ways)[number // 10 % 3]] if number % 10 == 0 else [])]
        for name in names:
            assert_unauthenticated(called(ways[name], forged), key[20:], forged[20:])
    for way in ways.values():
        assert called(way, key).well


def test_a_key_that_is_almost_right_is_nobodys(besieged: Mesh, ways: dict[str, Way]) -> None:
    key, other = besieged.key_blocking(), besieged.key_blocking()
    id, secret = key.split(".")
    forged = {
        id,
        secret,
        f"{id}.",
        f".{secret}",
        f"{id}.{other.split('.')[1]}",
        f"{other.split('.')[0]}.{secret}",
        f"{new_key().text.split('.')[0]}.{secret}",
        key.upper(),
        key.lower(),
        key.swapcase(),
        f"{id}.{secret.swapcase()}",
        f"{id.lower()}.{secret}",
        key.replace("wp_", "WP_"),
        key.replace("wp_", "wp-"),
        key.removeprefix("wp_"),
        key.replace(".", ".."),
        key.replace(".", ","),
        key.replace(".", " "),
        key.replace(".", ". "),
        key + "=",
        key + "A",
        key + key,
        f"{key},{key}",
        f"{key},{other}",
        f"{key};",
        f'"{key}"',
        f"Bearer {key}",
        f"{key}%00",
        f"{key}\\n",
        "wp_" + "A" * 16 + "." + "A" * 43,
        "wp_" + "*" * 16 + "." + "*" * 43,
        "wp_' OR '1'='1.x",
        "null",
        "undefined",
        "x" * 8000,
        *(key[:size] for size in range(1, len(key), 5)),
        *(key[start:] for start in range(1, len(key), 7)),
    }
    for text in forged:
        for name, way in ways.items():
            answer = called(way, text)
            assert answer.code == UNAUTHENTICATED, (text, name, answer)
            assert_unauthenticated(answer, text)
            assert called(way, text, GET_CALLER).code == UNAUTHENTICATED, (text, name)


@pytest.mark.parametrize(
    "odd", [b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"\xe2\x80\xae", b"\n", b"\r\n x", b"\t\x0b"]
)
@pytest.mark.parametrize("place", [3, 30])
def test_bytes_that_no_key_has(besieged: Mesh, odd: bytes, place: int) -> None:
    """As they stand, on a connection of their own: libraries would not send them."""
    key = besieged.operator_key.encode()
    forged = key[:place] + odd + key[place:]
    with edge_client(besieged) as client:
        data = Api(besieged, client).raw(
            b"GET /api/v1/workspace HTTP/1.1\r\nhost: h\r\nx-api-key: %s\r\nconnection: close\r\n\r\n" % forged
        )
    head = data.split(b"\r\n")[0]
    assert head in (b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 401 Unauthorized"), data
    assert key[20:40] not in data
    assert b"workspace_id" not in data


def test_a_wrong_secret_and_an_unknown_id_are_answered_alike(besieged: Mesh, ways: dict[str, Way]) -> None:
    key = besieged.key_blocking()
    answers = {
        (answer.code, answer.reason, answer.message)
        for text in (f"{key[:-1]}{'A' if key[-1] != 'A' else 'B'}", new_key().text)
        for answer in [called(way, text) for way in ways.values()]
    }
    assert len(answers) == 1


# Which methods are for whoever may read links: the rest is not.
FOR_READERS = {
    "LinkService/GetLink",
    "LinkService/ListLinks",
    "LinkService/ResolveLink",
    "WorkspaceService/GetCaller",
    "AbuseService/ReportLink",
}


@pytest.mark.parametrize("role", list(Role))
def test_a_key_that_may_read_links_may_nothing_else(besieged: Mesh, role: Role) -> None:
    key = key_with(besieged, role, [Scope.LINKS_READ])
    ports = {
        "RateLimitService": "ratelimiter_control",
        "LimitOverrideService": "ratelimiter_control",
        "JobService": "workers_control",
    }
    tried = set()
    for method in METHODS:
        service = method.split("/")[1].rpartition(".")[2]
        with ExitStack() as stack:
            names = [ports.get(service, "gateway_control"), *(["http"] if service != "JobService" else [])]
            ways = [grpc_way(stack.enter_context(own_channel(address_of(besieged, name)))) for name in names]
            if service != "JobService" and method.rpartition("/")[2] != "ResolveLink":
                ways.append(json_way(stack.enter_context(edge_client(besieged))))
            for way in ways:
                answer = way(method, request_of(method), [*keyed(key), EDGE])
                if method.removeprefix("/waypost.api.v1.") in FOR_READERS:
                    assert answer.code in (0, 3, 5), (method, answer)
                    tried.add(method.removeprefix("/waypost.api.v1."))
                else:
                    assert_denied(answer, method)
    assert tried == FOR_READERS


@pytest.fixture
async def second_gateway(besieged: Mesh) -> AsyncIterator[Gateway]:
    """Another gateway of the same mesh, beside the one that it started."""
    async with gateway_beside(besieged) as gateway:
        yield gateway


@pytest.fixture
def replicas(besieged: Mesh, second_gateway: Gateway) -> Iterator[list[tuple[Way, str, Message]]]:
    """Every process that knows keys, over connections that are kept, with a call that takes one."""
    check = request_of(CHECK, domain="shop", descriptors=[{"entries": [{"key": "probe", "value": "x"}]}])
    look, jobs = request_of(GET_WORKSPACE), request_of(LIST_JOBS)
    with ExitStack() as stack:

        def at(address: str) -> Way:
            return grpc_way(stack.enter_context(own_channel(address)))

        yield [
            (json_way(stack.enter_context(edge_client(besieged))), GET_WORKSPACE, look),
            (at(address_of(besieged, "http")), GET_WORKSPACE, look),
            (at(address_of(besieged, "http")), CHECK, check),
            (at(address_of(besieged, "gateway_control")), GET_WORKSPACE, look),
            (at(second_gateway.address), GET_WORKSPACE, look),
            (at(address_of(besieged, "ratelimiter_control")), CHECK, check),
            (at(address_of(besieged, "workers_control")), LIST_JOBS, jobs),
        ]


def made_key(mesh: Mesh, **fields: Any) -> CreateKeyResponse:
    """A new operator's key, made as operators make them."""
    with own_channel(address_of(mesh, "http")) as channel:
        answer = called(grpc_way(channel), mesh.operator_key, CREATE_KEY, name="x", role=ROLE_OPERATOR, **fields)
    assert answer.well, answer
    made: CreateKeyResponse = answer.body
    mesh.secrets.add(made.secret)
    return made


def storm_of(replicas: list[tuple[Way, str, Message]], key: str) -> Storm:
    return Storm([partial(way, method, request, [*keyed(key), EDGE]) for way, method, request in replicas])


async def test_a_revoked_key_is_refused_everywhere_within_a_second_and_for_ever(
    besieged: Mesh, replicas: list[tuple[Way, str, Message]]
) -> None:
    """Known by heart in two gateways, the rate limiter and the workers, which are all asked without a pause."""
    key = made_key(besieged)
    await asyncio.to_thread(_revoked, besieged, replicas, key, besieged.operator_key)
    # Also one that takes itself back.
    own = made_key(besieged)
    await asyncio.to_thread(_revoked, besieged, replicas, own, own.secret)


def _revoked(mesh: Mesh, replicas: list[tuple[Way, str, Message]], key: CreateKeyResponse, by: str) -> None:
    with storm_of(replicas, key.secret) as storm, own_channel(address_of(mesh, "http")) as channel:
        storm.until_all(0)
        assert called(grpc_way(channel), by, REVOKE_KEY, key_id=key.key.key_id).well
        revoked = time.monotonic()
        storm.goes_on(revoked, 3.0)
    storm.assert_all_since(revoked + 1.0, UNAUTHENTICATED)
    assert {one.answer.code for one in storm.heard()} == {0, UNAUTHENTICATED}


async def test_a_key_ends_at_its_time_everywhere(besieged: Mesh, replicas: list[tuple[Way, str, Message]]) -> None:
    """By the database's clock, which is this machine's."""
    await asyncio.to_thread(_expired, made_key(besieged, ttl_seconds=5), replicas)


def _expired(key: CreateKeyResponse, replicas: list[tuple[Way, str, Message]]) -> None:
    ends = key.key.expires_at.ToDatetime(UTC).timestamp() + time.monotonic() - time.time()
    with storm_of(replicas, key.secret) as storm:
        storm.until_all(0)
        assert time.monotonic() < ends - SLACK, "too slow to see it count"
        storm.goes_on(ends, 1.5)
    storm.assert_all_since(ends + SLACK, UNAUTHENTICATED)
    early = [(one, ends - one.began) for one in storm.heard() if not one.answer.well and one.began < ends - SLACK]
    assert early == []
    assert any("expired" in one.answer.message for one in storm.heard())


def test_a_secret_is_shown_once_and_kept_nowhere(besieged: Mesh, ways: dict[str, Way]) -> None:
    made = made_key(besieged)
    key = parse_key(made.secret)
    assert key is not None
    digest = digest_of(key, (besieged.data / "key-pepper").read_text().strip().encode())
    reads = [name for name in METHODS if name.rpartition("/")[2].startswith(("Get", "List"))]
    assert len(reads) > 8
    for method in reads:
        if "JobService" in method:
            continue
        fields = {"key_id": key.key_id} if method == GET_KEY else {}
        for way in ways.values():
            answer = called(way, besieged.operator_key, method, **fields)
            told = answer.text + str(answer.body)
            for hidden in (key.secret, digest.hex(), str(digest)):
                assert hidden not in told, method
    # Asking for it again makes no second answer of the first.
    for way in ways.values():
        again = way(
            CREATE_KEY, request_of(CREATE_KEY, name="x"), [*keyed(besieged.operator_key), ("idempotency-key", "k1")]
        )
        assert (again.code, "idempotency-key" in again.message) == (3, True)
    rows = run(_everything(besieged.owner_dsn()))
    assert key.key_id in rows
    assert key.secret not in rows
    assert key.secret.encode().hex() not in rows


async def _everything(dsn: str) -> str:
    """All rows of all tables."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = []
        for table in tables:
            statement = f'SELECT t::text AS row FROM "{table["tablename"]}" AS t'  # noqa: S608 - our own names
            found += [row["row"] for row in await connection.fetch(statement)]
        return "\n".join(found)
    finally:
        await connection.close()


def test_guesses_are_bounded_by_the_address_and_nobody_elses(strict: Mesh) -> None:
    """Forged addresses bring no new guesses; who is known already, or calls from elsewhere, goes on."""
    letters = random.Random(1)
    known, new, neighbours = (strict.key_blocking() for _ in range(3))
    with _client_from("127.0.0.71", strict) as guesser, _client_from("127.0.0.72", strict) as neighbour:

        def guess(number: int) -> httpx.Response:
            text = known[:20] + "".join(letters.choices(string.ascii_letters, k=43))
            return _look(guesser, text, **{"x-forwarded-for": f"192.0.2.{number}", "x-real-ip": f"192.0.2.{number}"})

        assert _look(guesser, known).status_code == 200
        began = time.monotonic()
        answers = list(_until_limited(guess))
        # As many at once as in a minute, and those that came back meanwhile.
        assert STRICT_GUESSES <= len(answers) - 1 <= STRICT_GUESSES + 2 + (time.monotonic() - began)
        assert {answer.status_code for answer in answers[:-1]} == {401}
        status = status_of_json(answers[-1], 429)
        assert "failed_credentials" in status.message
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert _look(guesser, known).status_code == 200
        list(_until_limited(guess))
        assert _look(guesser, new).status_code == 429
        assert _look(neighbour, neighbours).status_code == 200


def _until_limited(guess: Callable[[int], httpx.Response]) -> Iterator[httpx.Response]:
    for number in range(1000):
        yield (answer := guess(number % 250))
        if answer.status_code == 429:
            return
    raise AssertionError("never limited")


def _client_from(address: str, mesh: Mesh) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=mesh.http_url, transport=transport, trust_env=False, timeout=20)


def _look(client: httpx.Client, key: str, **headers: str) -> httpx.Response:
    return client.get("/api/v1/workspace", headers={"x-api-key": key, **headers})


def test_no_key_is_made_that_has_ended(besieged: Mesh, ways: dict[str, Way]) -> None:
    now = datetime.now(UTC)
    for fields in ({"ttl_seconds": 0}, {"ttl_seconds": -1}, {"expires_at": now.replace(year=now.year - 1)}):
        for way in ways.values():
            assert called(way, besieged.operator_key, CREATE_KEY, name="x", **fields).code == 3
