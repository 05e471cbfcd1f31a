"""Texts that are meant for whatever reads them next: SQL, logs, terminals, templates. They stay texts, everywhere."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from tests.e2e.api import Api, sent_raw
from tests.e2e.attacks import (
    BINDINGS,
    METHODS,
    Headers,
    Way,
    address_of,
    edge_client,
    own_channel,
    request_of,
    ways_into,
)
from tests.support.leaks import bad_lines
from tests.support.mesh import Mesh
from tests.support.postgres import run

pytestmark = pytest.mark.slow

FORGED = f"forged-{secrets.token_hex(6)}"
LINE = json.dumps({"event": FORGED, "level": "error", "ts": "2000-01-01T00:00:00Z"})

PAYLOADS = [
    "'",
    '"',
    "`",
    "\\",
    "%",
    "_",
    "$1",
    ";",
    "'; DROP TABLE links; --",
    '"; DROP TABLE links; --',
    "' OR '1'='1",
    "') OR 1=1 --",
    "1); DELETE FROM api_keys; --",
    "' UNION SELECT digest::text FROM api_keys --",
    "'; SELECT pg_sleep(30); --",
    "'||(SELECT current_user)||'",
    "$$; DROP TABLE links; $$",
    "'; SET waypost.workspace = '00000000-0000-0000-0000-000000000000'; --",
    "E'\\x27'",
    "\u02bc OR 1=1",
    "\u0000",
    "a\u0000b",
    "\\u0000",
    "%00",
    f"\n{LINE}",
    f"\r\n{LINE}\r\n",
    f"\u2028{LINE}",
    f"\u0085{LINE}",
    f'"}}\n{LINE}\n{{"a":"',
    "\x1b[2J\x1b]0;owned\x07\x1b[31m",
    "\u009b31m",
    "\b\b\b\x7f",
    "\u202e\u2066evil",
    "%s%s%s%n%d",
    "%(password)s",
    "{0}{self.__class__}{}",
    "${jndi:ldap://127.0.0.1:1/a}",
    "{{7777*7777}}<%= 7777*7777 %>#{7777*7777}",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "| id; $(id) `id`",
    "=cmd|'/c calc'!A0",
    "\ud7ff\ue000\uffff\U0010ffff",
    "Z\u0351\u036b" * 200,
    "A" * 5000,
    "A" * 60_000,
    "\u0000" * 1000,
    "[" * 3000,
    "(" * 900 + "a",
    "tag = '" * 300,
]

BENIGN = {
    "url": "https://example.com/",
    "name": "somebody",
    "subject": "somebody",
    "short_code": "nothere",
    "link": "nothere",
    "reason": "a reason",
    "domain": "shop",
    "report_id": "01234567-89ab-4cde-8f01-23456789abcd",
    "key_id": "A" * 16,
    "key": "probe",
    "value": "x",
}
"""What other fields are, so that the call comes as far as it can."""

# What answers may be: not INTERNAL, UNKNOWN, DATA_LOSS, and not late or away.
ORDERLY = {0, 3, 5, 6, 7, 8, 9, 10, 11, 12, 16}


def text_fields(descriptor: Descriptor, depth: int = 0) -> Iterator[list[FieldDescriptor]]:
    """The ways to every field of text in a message, through the messages in it."""
    if depth > 3 or descriptor.full_name == Timestamp.DESCRIPTOR.full_name:
        return
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield [field]
        elif field.message_type is not None:
            for rest in text_fields(field.message_type, depth + 1):
                yield [field, *rest]


def filled(message: Message, way: list[FieldDescriptor], text: str) -> Message:
    """The message with this text at the end of the way, and something harmless all along it."""
    for field in message.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and field.name in BENIGN:
            setattr(message, field.name, BENIGN[field.name])
    field, *rest = way
    if rest:
        inner = getattr(message, field.name)
        filled(inner.add() if field.is_repeated else inner, rest, text)
    elif field.is_repeated:
        getattr(message, field.name).append(text)
    else:
        setattr(message, field.name, text)
    return message


LIMITERS = ("RateLimitService", "LimitOverrideService")
"""The rate limiter's services."""

CASES = {
    f"{method.removeprefix('/waypost.api.v1.')} {'.'.join(field.name for field in way)}": (method, way)
    for method, descriptor in METHODS.items()
    for way in text_fields(descriptor.input_type)
}


@pytest.fixture(scope="module")
def ways(besieged: Mesh) -> Iterator[dict[str, Way]]:
    with ways_into(besieged) as ways:
        del ways["JSON over HTTP/2"]
        yield ways


@pytest.fixture(scope="module")
def intact(besieged: Mesh) -> Iterator[None]:
    """At the end all of the database is there that was, the links with what they had; nothing else was done to it."""
    before = run(_structure(besieged.owner_dsn()))
    with edge_client(besieged) as client:
        client.headers["x-api-key"] = besieged.operator_key
        api = Api(besieged, client)
        kept = api.make("https://kept.example/", title="kept")
        yield
        assert run(_structure(besieged.owner_dsn())) == before
        assert api.link(kept["short_code"]) == kept
    assert_logs_are_ours(besieged)


async def _structure(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT format('%s.%s %s', table_name, column_name, data_type) AS one FROM information_schema.columns"
            " WHERE table_schema = 'public' UNION ALL SELECT format('policy %s %s %s', tablename, policyname, qual)"
            " FROM pg_policies UNION ALL SELECT format('role %s %s', rolname, rolbypassrls) FROM pg_roles"
            " UNION ALL SELECT format('function %s', proname) FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace"
        )
        return sorted(row["one"] for row in rows)
    finally:
        await connection.close()


def assert_logs_are_ours(mesh: Mesh) -> None:
    """Every line is one of ours: none that a caller wrote, none with what a terminal or a reader would act on."""
    assert bad_lines(mesh) == []
    for path in (mesh.data / "logs").iterdir():
        data = path.read_bytes()
        assert not {byte for byte in data if byte < 0x20 and byte not in b"\n\t"}, path.name
        if path.name.startswith("postgres"):
            # What came as far as the database was no error to it.
            assert b" ERROR: " not in data, data[-3000:]
            continue
        for line in data.decode().split("\n"):
            if line:
                event = json.loads(line)
                assert event.get("event") != FORGED
                assert "root:" not in line


@pytest.mark.parametrize("case", CASES)
def test_a_text_is_a_text(besieged: Mesh, ways: dict[str, Way], intact: None, case: str) -> None:
    """In every field of every method, for somebody who may do everything."""
    method, path = CASES[case]
    headers: Headers = [("x-api-key", besieged.operator_key)]
    ports = dict.fromkeys(LIMITERS, "ratelimiter_control")
    for number, payload in enumerate(PAYLOADS):
        message = filled(request_of(method), path, payload)
        for name, call in ways.items():
            service = method.split("/")[1].rpartition(".")[2]
            if name == "the gateway's port" and service in ports:
                continue
            if name == "JSON" and (
                method not in BINDINGS or (path[0].message_type is not None and "mask" in path[0].name)
            ):
                continue
            # Each by one of the ways, and by all of them those that are about to hurt most.
            if len(payload) < 100 or number % len(ways) == list(ways).index(name):
                try:
                    answer = call(method, message, headers)
                except (httpx.InvalidURL, AssertionError) as error:
                    # An address that is none, or an answer that is none of the API's.
                    assert name == "JSON", error
                    assert any(field.name in BINDINGS[method].path for field in path), error
                    continue
                assert answer.code in ORDERLY, (payload, name, answer)
                assert "60481729" not in answer.message


def test_a_text_that_looks_like_sql_is_kept_as_it_came(besieged: Mesh, intact: None) -> None:
    """So the others were not merely refused before they came to where they could have done harm."""
    with edge_client(besieged) as client:
        client.headers["x-api-key"] = besieged.operator_key
        api = Api(besieged, client)
        kept = [text for text in PAYLOADS if text.isprintable() and len(text) <= 50 and "," not in text]
        assert len(kept) > 20
        for text in kept:
            link = api.make(title=text, tags=[text])
            shown = api.link(link["short_code"])
            assert (shown["title"], shown["tags"]) == (text, [text])
            member = api.send(
                "POST", "/api/v1/members", {"subject": secrets.token_hex(8), "role": "ROLE_VIEWER", "name": text}
            )
            assert member.json()["name"] == text
            reported = api.send(
                "POST", "/api/v1/report", {"link": link["short_code"], "comment": text, "contact": text}
            )
            assert reported.status_code == 200
            assert (
                api.send("POST", f"/api/v1/abuse/links/{link['short_code']}:block", {"reason": text}).json()["reason"]
                == text
            )


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"ab\xc3"])
def test_bytes_that_are_no_text_are_refused(besieged: Mesh, intact: None, data: bytes) -> None:
    """Over gRPC, where they can be sent: libraries would not let them out."""
    mark = "Q" * len(data)
    for case, (method, path) in CASES.items():
        service = method.split("/")[1].rpartition(".")[2]
        port = "ratelimiter_control" if service in LIMITERS else "gateway_control"
        raw = filled(request_of(method), path, mark).SerializeToString().replace(mark.encode(), data)
        for where in (port, "http"):
            with own_channel(address_of(besieged, where)) as channel:
                stub: Any = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
                with pytest.raises(grpc.RpcError) as refused:
                    stub(raw, timeout=20, metadata=[("x-api-key", besieged.operator_key)])
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (case, where, refused.value)


LOGGED = ("x-correlation-id", "x-request-id", "user-agent", "x-workspace", "idempotency-key", "accept", "referer",
          "traceparent", "authorization", "x-api-key", "content-type", "sec-fetch-site", "x-waypost-edge")  # fmt: skip
TELLING = [payload for payload in PAYLOADS if FORGED in payload or set(payload) & set("\x1b\u009b\b\u202e${<\u0000")]


@pytest.mark.parametrize("name", LOGGED)
def test_a_header_is_a_text(besieged: Mesh, intact: None, name: str) -> None:
    for payload in TELLING:
        value = payload.encode("utf-8", "replace")[:8000]
        if any(byte in b"\0\r\n" for byte in value):
            # What ends a header ends it: the next line is another one.
            value = value.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"")
        data = sent_raw(
            besieged,
            b"GET /api/v1/urls HTTP/1.1\r\nhost: h\r\nconnection: close\r\n%s: %s\r\n\r\n" % (name.encode(), value),
        )
        status = int(data.split(b" ", 2)[1])
        assert status in (400, 401, 403, 404, 415, 431), (payload, data)
        assert data.count(b"HTTP/1.1 ") == 1
        head = data.partition(b"\r\n\r\n")[0]
        assert FORGED.encode() not in head


def test_a_path_and_a_query_are_texts(besieged: Mesh, intact: None) -> None:
    with edge_client(besieged) as client:
        for payload in PAYLOADS:
            if len(payload) > 5000:
                continue
            text = httpx.QueryParams({"q": payload})
            path = str(text).removeprefix("q=").replace("+", "%20")
            for target in (
                f"/{path}",
                f"/{path}+",
                f"/api/v1/urls/{path}",
                f"/nothing?{text}",
                f"/api/v1/urls?filter={path}",
            ):
                response = client.get(target, headers={"accept": "text/html"})
                assert response.status_code in (400, 401, 404, 414), (target, response.text)
                assert "<script>" not in response.text
                assert "60481729" not in response.text


def test_every_field_of_text_was_tried() -> None:
    """Fields that are added later are tried by themselves; this is so that nobody loses them."""
    assert len(CASES) >= 40
    tried = {method for method, _ in CASES.values()}
    without = {name for name, method in METHODS.items() if not list(text_fields(method.input_type))}
    assert tried | without == METHODS.keys()
    assert len(without) <= 4
    assert all(GetMessageClass(METHODS[name].input_type)().ByteSize() == 0 for name in without)
