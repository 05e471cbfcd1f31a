"""Every field of every call, given what it cannot take: a 400 that says so, whatever stands in it, and never a 500."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2

from tests.e2e.api import Api, api_from, bad_fields, detail, fresh_alias, info, refused, status_of_json
from tests.support.mesh import Mesh

JSON = {"content-type": "application/json"}
GOOD = "https://example.com/"
TIMEOUT = 10.0

Send = Callable[[str, bytes], httpx.Response]
"""Makes a call with one more field, whose value is given as it stands in the body; everything else of it is good."""


@pytest.fixture(scope="module")
def callers(mesh: Mesh) -> Iterator[list[Api]]:
    """Twenty addresses: what is refused counts as a create, too, and no address makes so many that a limit is near."""
    with ExitStack() as stack:
        yield [stack.enter_context(api_from(f"127.0.2.{number}", mesh)) for number in range(1, 21)]


@pytest.fixture
def api(callers: list[Api]) -> Api:
    """A caller; the next test has another one."""
    callers.append(callers.pop(0))
    return callers[-1]


@pytest.fixture(scope="module")
def code(callers: list[Api]) -> str:
    """A link that no test here changes."""
    return callers[0].code()


def body(fields: dict[str, bytes]) -> bytes:
    return b"{%s}" % b",".join(b"%s:%s" % (json.dumps(name).encode(), value) for name, value in fields.items())


@pytest.fixture
def calls(api: Api, code: str) -> dict[str, Send]:
    """The calls that take a body."""

    def sender(method: str, path: str, good: dict[str, bytes]) -> Send:
        return lambda name, value: api.http.request(method, path, content=body(good | {name: value}), headers=JSON)

    return {
        "create": sender("POST", "/api/v1/shorten", {"url": b'"%s"' % GOOD.encode()}),
        "update": sender("PATCH", f"/api/v1/urls/{code}", {"forward_query": b"false"}),
        "undelete": sender("POST", f"/api/v1/urls/{code}:undelete", {}),
        "batch": sender("POST", "/api/v1/shorten:batch", {"requests": b'[{"url":"%s"}]' % GOOD.encode()}),
    }


TEXTS = [
    *(("create", name) for name in ("url", "alias", "title", "request_id")),
    *(("update", name) for name in ("url", "title", "etag", "request_id", "update_mask")),
    *(("undelete", name) for name in ("etag", "request_id")),
    ("batch", "request_id"),
]
NUMBERS = [
    *(("create", name) for name in ("ttl_seconds", "max_clicks", "redirect_status")),
    *(("update", name) for name in ("ttl_seconds", "max_clicks", "redirect_status")),
]
TIMES = [("create", "expires_at"), ("update", "expires_at")]
LISTS = [("create", "tags"), ("update", "tags")]


def assert_refused(response: httpx.Response, field: str, value: bytes) -> None:
    """A 400 that names the field, as far as whoever refuses it knows it."""
    status = status_of_json(response, 400)
    assert status.code == 3
    reason = info(status).reason
    if reason == "ERROR_REASON_INVALID_FIELD":
        violations = detail(status, error_details_pb2.BadRequest).field_violations
        assert {violation.field.partition("[")[0] for violation in violations} == {field}
        return
    # The edge's decoder, which stops where JSON itself is broken, and does not say where a list began.
    assert reason == "ERROR_REASON_MALFORMED_REQUEST"
    assert field in status.message or value[:1] in b"[{" or value in NOT_JSON


NOT_JSON = [
    b"NaN", b"Infinity", b"undefined", b"True", b"0x10", b"05", b"1e999", b"-", b"+1", b".5", b'"a', b"'",
    b'"\\ud800"', b'"\\udc00x"', b'"\\ud800\\ud800"', b'"\\u12"', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"', b'"\xe2\x82"',
]  # fmt: skip


@pytest.mark.parametrize(("call", "field"), [*TEXTS, *NUMBERS, *TIMES, *LISTS, ("create", "forward_query")])
def test_what_is_no_json_in_no_text(calls: dict[str, Send], call: str, field: str) -> None:
    for value in NOT_JSON:
        assert_refused(calls[call](field, value), field, value)


@pytest.mark.parametrize(("call", "field"), TEXTS)
def test_other_types_in_place_of_text(calls: dict[str, Send], call: str, field: str) -> None:
    for value in (b"5", b"1.5", b"true", b'["x"]', b"[[]]", b'{"a":1}'):
        if (field, value[:1]) != ("update_mask", b"{"):
            assert_refused(calls[call](field, value), field, value)


@pytest.mark.parametrize(("call", "field"), [text for text in TEXTS if text[1] != "etag"])
@pytest.mark.parametrize(
    "value",
    [
        b'"\\u0000"',
        b'"a\\u0000b"',
        b'"\x00"',
        b'"a\x01b"',
        b'"a\\u001bb"',
        b'"a\\u0085"',
        b'"a\\u202eb"',
        b'"%s"' % (b"x" * 60_000),
    ],
    ids=["nul", "nul within", "raw nul", "raw control", "escape", "C1", "right to left", "60,000 characters"],
)
def test_text_that_no_field_takes(calls: dict[str, Send], call: str, field: str, value: bytes) -> None:
    assert_refused(calls[call](field, value), field, value)


@pytest.mark.parametrize("value", [b'"\\u0000"', b'"\\u202e"', b'"%s"' % (b"x" * 60_000)])
def test_an_etag_of_no_state_is_a_state_that_is_past(calls: dict[str, Send], value: bytes) -> None:
    for call in ("update", "undelete"):
        status = status_of_json(calls[call]("etag", value), 409)
        assert info(status).reason == "ERROR_REASON_ETAG_MISMATCH"


@pytest.mark.parametrize(("call", "field"), NUMBERS)
def test_what_is_no_whole_number_of_32_bits(calls: dict[str, Send], call: str, field: str) -> None:
    for value in (
        *(
            b'"x"',
            b'""',
            b'" 5"',
            b'"5 "',
            b'"0x10"',
            b'"1,000"',
            b'"NaN"',
            b'"Infinity"',
            b'"\\u0000"',
            '"٥"'.encode(),
        ),
        *(
            b"1.5",
            b"-0.5",
            b"2147483648",
            b"-2147483649",
            b"4294967297",
            b"1e300",
            b"9" * 400,
            b"true",
            b"[5]",
            b'{"a":5}',
        ),
        # These are numbers, and no good ones.
        *(b"-1", b'"-1"', b"-2147483648", b"2147483647", b'"2147483647"'),
    ):
        assert_refused(calls[call](field, value), field, value)


def test_numbers_may_come_as_proto_json_writes_them(calls: dict[str, Send]) -> None:
    for value in (b"5", b'"5"', b"5.0", b"5e0", b"50e-1"):
        response = calls["create"]("max_clicks", value)
        assert (response.status_code, response.json()["max_clicks"]) == (200, 5), value
    assert calls["create"]("max_clicks", b"null").json()["max_clicks"] == 0


@pytest.mark.parametrize(("call", "field"), TIMES)
def test_what_is_no_time_to_come(calls: dict[str, Send], call: str, field: str) -> None:
    for value in (
        *(b"5", b"true", b'""', b'"now"', b'"tomorrow"', b'"\\u0000"', b'"1893456000"'),
        *(b'"2030-01-01"', b'"2030-01-01T00:00:00"', b'"2030-01-01 00:00:00Z"', b'"2030-01-01T00:00:00+99:00"'),
        *(b'"2030-13-01T00:00:00Z"', b'"2030-02-30T00:00:00Z"', b'"2030-01-01T25:00:00Z"', b'"20300-01-01T00:00:00Z"'),
        *(b'"0000-01-01T00:00:00Z"', b'"-001-01-01T00:00:00Z"', b'"9999-12-31T23:59:60Z"', b'"0001-01-01T00:00:00Z"'),
        *(b'"1970-01-01T00:00:00Z"', b'"9999-01-01T00:00:00Z"', b'["2030-01-01T00:00:00Z"]'),
    ):
        assert_refused(calls[call](field, value), field, value)


@pytest.mark.parametrize(("call", "field"), LISTS)
def test_what_is_no_list_of_tags(calls: dict[str, Send], call: str, field: str) -> None:
    for value in (
        *(b"5", b"true", b'{"a":1}', b"[1]", b"[true]", b"[{}]", b'["a",5]', b'["\\ud800"]', b'["a"', b"[,]"),
        *(b'[""]', b'["a\\u0000"]', b'["a,b"]', b'[" a"]', b'["a "]', b'["\\u200b"]', b'["%s"]' % (b"x" * 60_000)),
        *(json.dumps([str(number) for number in range(21)]).encode(), b"[%s]" % b",".join([b'""'] * 10_000)),
        *(json.dumps([str(number) for number in range(7_000)]).encode(),),
    ):
        assert_refused(calls[call](field, value), field, value)


def test_bad_tags_are_named_by_their_places(api: Api) -> None:
    tags = ["good", "", "a\nb", "x" * 51, "a,b", " c", "caf\u00e9"]
    assert list(bad_fields(api.shorten(tags=tags))) == [f"tags[{place}]" for place in range(1, 6)]
    many = bad_fields(api.shorten(tags=[","] * 1_000))
    assert 5 <= len(many) <= 20
    assert "tags[0]" in many


def test_tags_and_title_are_stored_in_one_form(api: Api) -> None:
    link = api.make(title="  <b>caf\u00e9</b> ", tags=["cafe\u0301", "B", "caf\u00e9", "b", "B"] * 200)
    assert (link["title"], link["tags"]) == ("<b>caf\u00e9</b>", ["caf\u00e9", "B", "b"])


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b'\xef\xbb\xbf{"url":"https://a.example/"}', id="a byte order mark"),
        pytest.param('{"url":"https://a.example/"}'.encode("utf-16"), id="UTF-16"),
        pytest.param('{"url":"https://a.example/"}'.encode("utf-32-le"), id="UTF-32"),
        pytest.param(b'\x00{"url":"https://a.example/"}', id="a zero before"),
        pytest.param(b'{"url":"https://a.example/"}\x00', id="a zero after"),
        pytest.param(b'{"url":"https://a.example/"} // x', id="a comment"),
        pytest.param(b'{"url":"https://a.example/","":1}', id="a name of no letters"),
        pytest.param(b'{"url":' + b"[" * 60_000, id="lists that never end"),
        pytest.param(b'{"url":' + b"[" * 30_000 + b"]" * 30_000 + b"}", id="lists in lists"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="objects in objects"),
        pytest.param(
            b'{"url":"https://a.example/","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", id="depth nobody reads"
        ),
        pytest.param(b"\x00" * 1_000, id="zeros"),
        pytest.param(bytes(range(256)), id="all bytes"),
        pytest.param(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", id="gzip"),
        pytest.param(b"\x0a\x12https://a.example/", id="protobuf"),
        pytest.param(
            b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', id="XML"
        ),
    ],
)
def test_bodies_that_no_json_is_read_from(api: Api, code: str, sent: bytes) -> None:
    for method, path in (
        ("POST", "/api/v1/shorten"),
        ("POST", "/api/v1/shorten:batch"),
        ("PATCH", f"/api/v1/urls/{code}"),
        ("POST", f"/api/v1/urls/{code}:undelete"),
    ):
        status = status_of_json(api.http.request(method, path, content=sent, headers=JSON), 400)
        assert info(status).reason == "ERROR_REASON_MALFORMED_REQUEST"


@pytest.mark.parametrize("name", ["filter", "order_by", "page_token", "page_size"])
def test_queries_that_are_no_arguments(api: Api, name: str) -> None:
    for value in (
        "%00",
        "a%00b",
        "%ff",
        "%ed%a0%80",
        "%f0%9f",
        "%e2%80%ae",
        "x" * 5_000,
        "%0d%0aset-cookie:x=1",
        "-1",
        "{}",
    ):
        status = status_of_json(api.http.get(f"/api/v1/urls?{name}={value}"), 400)
        assert info(status).reason in ("ERROR_REASON_INVALID_FIELD", "ERROR_REASON_MALFORMED_REQUEST")
        if info(status).reason == "ERROR_REASON_INVALID_FIELD":
            (violation,) = detail(status, error_details_pb2.BadRequest).field_violations
            assert violation.field == name


@pytest.mark.parametrize(
    ("segment", "http_status"),
    [
        *((segment, 404) for segment in ("%20", "a%0ab", "a%0d%0ab", "%E2%80%AE", "caf%C3%A9", "cafe%CC%81")),
        *((segment, 404) for segment in ("*", "%25", "_abc", "abc+", "abc.", "abc;x", "%27--", "%3Cb%3E", "x" * 5_000)),
        *((segment, 400) for segment in ("%ff", "%ed%a0%80", "a%00b", "a%2fb", "a%5cb")),
    ],
)  # fmt: skip
def test_codes_that_no_link_has_are_not_found_by_any_call(api: Api, segment: str, http_status: int) -> None:
    path = f"/api/v1/urls/{segment}"
    for response in (
        api.http.get(path),
        api.http.delete(path),
        api.http.patch(path, content=b'{"title":"x"}', headers=JSON),
        api.http.post(f"{path}:undelete", content=b"{}", headers=JSON),
    ):
        status = status_of_json(response, http_status)
        if http_status == 404:
            assert info(status).reason == "ERROR_REASON_LINK_NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "http_status"),
    [
        *((path, 404) for path in ("/_internal", "/caf%C3%A9", "/cafe%CC%81", "/%E2%85%B0bc", "/%EF%AC%81sh", "/%ff")),
        *((path, 404) for path in ("/%ED%A0%80", "/%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB", "/abc%20", "/abc%0a", "/abc;x")),
        *((path, 404) for path in ("/%2e%2e/x", "/%25%30%30", "/%zz", "/%", "//evil.example", "/a//b", "/" + "x" * 65)),
        *((path, 404) for path in ("/" + "x" * 5_000, "/abc%0d%0aset-cookie:x=1", "/https:%E2%88%95evil.example")),
        *((path, 400) for path in ("/..%2fx", "/%2e%2e%2f", "/..%5cx", "/a%00b", "/%2fa.example", "/%5ca.example")),
    ],
)  # fmt: skip
def test_paths_that_no_link_has_lead_nowhere(api: Api, path: str, http_status: int) -> None:
    answer = api.raw(b"GET %s HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % path.encode())
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 %d " % http_status)
    assert b"\r\nlocation:" not in head
    assert b"\r\nset-cookie:" not in head


@pytest.mark.parametrize("name", ["url", "redir_url", "redirect", "next", "u", "to", "target", "continue"])
def test_no_parameter_says_where_to(api: Api, code: str, name: str) -> None:
    assert api.redirect(f"/{code}?{name}=https://evil.example/") == (302, GOOD.encode())
    assert api.redirect(f"/unknown-1?{name}=https://evil.example/") == (404, None)


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"])
def test_bytes_that_are_no_text_over_grpc(links_channel: grpc.Channel, text: bytes) -> None:
    for method, number in (
        *(("CreateLink", number) for number in (1, 2, 6, 7, 10)),
        *(("UpdateLink", number) for number in (1, 2, 3, 4, 11, 12)),
        *(("ListLinks", number) for number in (2, 3, 4)),
        *((name, 1) for name in ("GetLink", "DeleteLink", "UndeleteLink", "ResolveLink")),
    ):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = links_channel.unary_unary(
            f"/waypost.api.v1.LinkService/{method}"
        )
        field = bytes([number << 3 | 2, len(text)]) + text
        status = refused(lambda call=call, field=field: call(field, timeout=TIMEOUT))  # type: ignore[misc]
        assert (status.code, info(status).reason) == (3, "ERROR_REASON_MALFORMED_REQUEST")


def test_a_hundred_at_once_want_one_alias_and_one_gets_it(callers: list[Api]) -> None:
    alias = f"Aa{fresh_alias()}"
    wanted = [alias, alias.upper(), alias.lower(), alias.swapcase()] * 25
    ready = Barrier(len(wanted))

    def want(place: int) -> httpx.Response:
        ready.wait(timeout=30)
        return callers[place % len(callers)].shorten(f"{GOOD}{place}", alias=wanted[place])

    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(want, range(len(wanted))))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 99}
    for answer in answers:
        if answer.status_code == 409:
            assert info(status_of_json(answer, 409)).reason == "ERROR_REASON_ALIAS_TAKEN"
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    api = callers[0]
    assert api.link(winner["short_code"])["original_url"] == winner["original_url"]
    assert api.told(winner["short_code"]) == ["created"]
    rows = api.sql("SELECT short_code FROM links WHERE lower(short_code) = $1", alias.lower())
    assert [row["short_code"] for row in rows] == [winner["short_code"]]


def test_look_alikes_are_different_aliases_and_capitals_are_not(api: Api) -> None:
    end = fresh_alias()
    for start in ("l1I0O", "11I0O", "lII0O", "l1IOO"):
        assert api.code(alias=start + end) == start + end
    assert info(status_of_json(api.shorten(alias="L1i0o" + end), 409)).reason == "ERROR_REASON_ALIAS_TAKEN"
