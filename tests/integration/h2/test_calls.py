"""One unary call: what arrives, what is answered, and in which words."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from tests.integration.h2.echo import Echo, echo, method_of
from tests.integration.h2.wire import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GRPC,
    HEADERS,
    PING,
    PRIORITY,
    WINDOW_UPDATE,
    Answer,
    Wire,
    frame,
    message,
    wire,
)
from tests.support.waiting import until

PROTOCOL_ERROR = 1
INITIAL_WINDOW_SIZE = 4


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    with echo() as running:
        yield running


@pytest.mark.parametrize("method", ["Compiled", "Up"])
@pytest.mark.parametrize("size", [0, 1, 1000, 16_379, 16_380, 65_536])
async def test_a_message_comes_back(server: Echo, method: str, size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = method_of(channel, f"/test.Echo/{method}")
        assert await call(content, timeout=10) == content


async def test_what_is_known_of_a_call(server: Echo) -> None:
    metadata = (("a", "b"), ("x-bin", b"\0\xff"), ("x-bin", b"second"), ("a", "c"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = method_of(channel, "/test.Echo/Up")(b"", metadata=metadata, timeout=10)
        initial = {str(name): value for name, value in await call.initial_metadata()}
        trailing = [(name, value) for name, value in await call.trailing_metadata() if name != "user-agent"]
    assert initial["x-path"] == "/test.Echo/Up"
    assert str(initial["x-peer"]).startswith("ipv4:127.0.0.1:")
    assert 9_000_000 < int(initial["x-timeout-us"]) <= 10_100_000
    # gRPC's library puts those of one name together.
    assert sorted(trailing, key=lambda pair: str(pair[0])) == [
        ("a", "b"),
        ("a", "c"),
        ("x-bin", b"\0\xff"),
        ("x-bin", b"second"),
    ]


@pytest.mark.parametrize(("place", "name"), [("127.0.0.1", "ipv4:127.0.0.1:"), ("::1", "ipv6:%5B::1%5D:")])
async def test_peers_of_a_server_for_both_kinds_of_addresses(place: str, name: str) -> None:
    with echo("6") as server:
        async with Wire(server.port, place) as connection:
            connection.begin()
            answer = await connection.answer(connection.call())
    assert dict(answer.fields)["x-peer"].startswith(name)
    assert int(dict(answer.fields)["x-peer"].removeprefix(name)) > 0


async def test_a_unix_socket(tmp_path: Path) -> None:
    place = str(tmp_path / "echo")
    with echo(place) as server:
        async with Wire(0, place) as connection:
            connection.begin()
            answer = await connection.answer(connection.call())
            connection.call(path="/test.Echo/Held")
            await until(lambda: server.stats()["in_flight"] == 1)
            # Who only listens is asked whether he is there, and keeps his call.
            connection.hang_up()
            while await connection.receive() != PING:
                pass
            assert server.stats()["in_flight"] == 1
        await until(lambda: server.stats()["in_flight"] == 0)
    assert dict(answer.fields)["x-peer"] == "unix:"


async def test_a_refusal_has_its_status_its_words_and_its_details(server: Echo) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method_of(channel, "/test.Echo/Refused")(b"", timeout=10)
    assert (raised.value.code(), raised.value.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "100 % refused: ü",
    )
    assert dict(raised.value.trailing_metadata()) == {"detail-bin": b"\0\xff"}


async def test_an_error_is_trailers_only(server: Echo) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.call(path="/test.Echo/Refused"))
    assert answer.trailers == []
    assert answer.fields == [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "7"),
        ("grpc-message", "100 %25 refused: %C3%BC"),
        ("detail-bin", "AP8"),
    ]


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1H", 3_600_000_000),
        ("2M", 120_000_000),
        ("99999999S", 99_999_999_000_000),
        ("100m", 100_000),
        ("7u", 7),
        ("1n", 1),
        ("1001n", 2),
        ("0m", 0),
        ("", -1),
        ("5", -1),
        ("m", -1),
        ("-1m", -1),
        ("1 m", -1),
        ("123456789m", -1),
        ("1s", -1),
    ],
)
async def test_timeouts(server: Echo, text: str, microseconds: int) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.call(b"", ("grpc-timeout", text)))
    assert int(dict(answer.fields)["x-timeout-us"]) == microseconds


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("value", [b"", b"\0", b"\xff\xfe", b"abc", bytes(range(256))])
async def test_binary_fields(server: Echo, value: bytes, padded: bool) -> None:
    encoded = base64.b64encode(value).decode()
    async with wire(server.port) as connection:
        sent = encoded if padded else encoded.rstrip("=")
        answer = await connection.answer(connection.call(b"", ("some-bin", sent)))
    assert dict(answer.trailers)["some-bin"] == encoded.rstrip("=")


async def test_several_binary_values_may_stand_in_one_field(server: Echo) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.call(b"", ("some-bin", "AA==,Ag,!,AA=,A")))
    assert [value for name, value in answer.trailers if name == "some-bin"] == ["AA", "Ag"]


async def test_a_message_in_many_frames(server: Echo) -> None:
    content = message(b"in many pieces")
    async with wire(server.port) as connection:
        stream = connection.head()
        for index in range(len(content)):
            connection.data(stream, content[index : index + 1], end=index == len(content) - 1)
        answer = await connection.answer(stream)
    assert (answer.status, answer.body) == (0, content)


async def test_it_is_answered_as_soon_as_the_message_is_whole(server: Echo) -> None:
    async with wire(server.port) as connection:
        stream = connection.head()
        connection.data(stream, message(b"all"), end=False)
        answer = await connection.answer(stream)
        while answer.reset is None:
            await connection.receive()
    assert (answer.status, answer.body, answer.reset) == (0, message(b"all"), 0)


async def test_what_follows_the_message_is_nobodys(server: Echo) -> None:
    async with wire(server.port) as connection:
        stream = connection.head()
        connection.data(stream, message(b"first") + message(b"second"))
        answer = await connection.answer(stream)
    assert (answer.status, answer.body) == (0, message(b"first"))


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", message(b"whole")[:-1]])
async def test_a_caller_that_ends_without_its_message(server: Echo, sent: bytes) -> None:
    async with wire(server.port) as connection:
        stream = connection.head(end=not sent)
        if sent:
            connection.data(stream, sent)
        answer = await connection.answer(stream)
    assert (answer.status, answer.text) == (3, "no message")


@pytest.mark.parametrize("content_type", ["application/grpc+proto", "application/grpc;x=y", "application/grpc"])
async def test_content_types_of_grpc(server: Echo, content_type: str) -> None:
    async with wire(server.port) as connection:
        assert (await connection.answer(connection.call(content_type=content_type))).status == 0


@pytest.mark.parametrize("content_type", ["application/json", "application/grpcx", "application/grpc-web", ""])
async def test_other_content_types_are_415(server: Echo, content_type: str) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.call(content_type=content_type))
    assert answer.fields == [(":status", "415"), ("content-type", "text/plain")]
    assert answer.body == b"Only gRPC is spoken here: the content-type must be application/grpc.\n"
    assert answer.trailers == []


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, word: bytes, other: bytes) -> None:
    """What comes until it ends, with another word for a word, if there is one."""
    while data := await reader.read(65_536):
        writer.write(data.replace(word, other) if word else data)


@asynccontextmanager
async def in_other_words(port: int, word: bytes, other: bytes) -> AsyncIterator[int]:
    """A port at which the server on `port` hears another word, of the same length, for a word."""
    ends: list[asyncio.StreamWriter] = []
    over = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, back))
        try:
            await asyncio.gather(pass_on(reader, back, word, other), pass_on(there, writer, b"", b""))
        except ConnectionError:
            pass  # hung up with something unread
        finally:
            over.set()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as between:
        yield int(between.sockets[0].getsockname()[1])
        for end in ends:
            end.close()
            with contextlib.suppress(ConnectionError):
                await end.wait_closed()
        await over.wait()


async def test_a_client_of_grpc_is_told_of_a_415_as_of_any_other_error(server: Echo) -> None:
    # No client of gRPC has another content type, unless something between changes it.
    async with (
        in_other_words(server.port, b"application/grpc", b"application/grpx") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method_of(channel, "/test.Echo/Compiled")(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNKNOWN
    assert "415" in (raised.value.details() or "")


async def test_other_methods_of_http_are_405(server: Echo) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.head(end=True, method="GET"))
    assert answer.fields == [(":status", "405"), ("allow", "POST"), ("content-type", "text/plain")]
    assert answer.body == b"Only gRPC is spoken here: a call is a POST to /package.Service/Method.\n"


async def test_who_asks_for_the_head_gets_no_body(server: Echo) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.head(end=True, method="HEAD"))
        assert (await connection.answer(connection.call())).status == 0
    assert answer.fields == [(":status", "405"), ("allow", "POST"), ("content-type", "text/plain")]
    assert answer.body == b""


async def test_a_refusal_comes_as_windows_let_it(server: Echo) -> None:
    async with wire(server.port, (INITIAL_WINDOW_SIZE, 10)) as connection:
        stream = connection.call(content_type="text/html")
        answer = connection.answers[stream]
        while len(answer.body) < 10:
            await connection.receive()
        assert (answer.body, answer.ended) == (b"Only gRPC ", False)
        connection.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 1000)))
        await connection.answer(stream)
    assert answer.body == b"Only gRPC is spoken here: the content-type must be application/grpc.\n"


async def test_a_refusal_does_not_wait_for_the_message(server: Echo) -> None:
    async with wire(server.port) as connection:
        stream = connection.head(content_type="text/html")
        answer = await connection.answer(stream)
        while answer.reset is None:
            await connection.receive()
    assert (dict(answer.fields)[":status"], answer.reset) == ("415", 0)


@pytest.mark.parametrize(("encoding", "status"), [("identity", 0), ("gzip", 12)])
async def test_encodings(server: Echo, encoding: str, status: int) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.call(b"x", ("grpc-encoding", encoding)))
    assert answer.status == status
    assert (dict(answer.fields).get("grpc-accept-encoding") == "identity") is (status == 12)


async def test_a_message_marked_as_compressed_without_an_encoding(server: Echo) -> None:
    async with wire(server.port) as connection:
        stream = connection.head()
        connection.data(stream, message(b"x", compressed=1))
        assert (await connection.answer(stream)).status == 13


async def test_who_resets_a_call_has_it_cancelled(server: Echo) -> None:
    before = server.stats()
    async with wire(server.port) as connection:
        stream = connection.call(path="/test.Echo/Held")
        await until(lambda: server.stats()["in_flight"] == before["in_flight"] + 1)
        connection.send(frame(3, 0, stream, b"\0\0\0\x08"))
        await until(lambda: server.stats()["in_flight"] == before["in_flight"])
    assert server.stats()["cancelled"] == before["cancelled"] + 1


async def test_who_hangs_up_has_all_its_calls_cancelled(server: Echo) -> None:
    before = server.stats()
    async with wire(server.port) as connection:
        for _ in range(50):
            connection.call(path="/test.Echo/Held")
        await until(lambda: server.stats()["in_flight"] == before["in_flight"] + 50)
    await until(lambda: server.stats()["in_flight"] == before["in_flight"])
    assert server.stats()["cancelled"] == before["cancelled"] + 50


async def test_nothing_is_held_once_all_is_done(server: Echo) -> None:
    await until(lambda: server.stats()["connections"] == 0)
    await until(lambda: server.stats()["waiting_bytes"] == 0)
    assert server.stats()["in_flight"] == 0


async def test_a_server_that_drains_lets_calls_finish() -> None:
    with echo() as server:
        async with wire(server.port) as connection:
            held = connection.call(path="/test.Echo/Held")
            await until(lambda: server.stats()["in_flight"] == 1)
            server.drain()
            while not connection.goaway:
                await connection.receive()
            # One that was on its way is still served.
            late = await connection.answer(connection.call())
            assert late.status == 0
            while len(connection.goaway) < 2:
                await connection.receive()
            assert [code for _, code in connection.goaway] == [0, 0]
            connection.send(frame(3, 0, held, b"\0\0\0\x08"))
            await connection.until_closed()


async def test_half_a_frame_is_waited_for(server: Echo) -> None:
    content = message(b"slowly")
    async with wire(server.port) as connection:
        stream = connection.head()
        whole = frame(DATA, END_STREAM, stream, content)
        connection.send(whole[:7])
        await until(lambda: server.stats()["connections"] >= 1)
        connection.send(whole[7:])
        assert (await connection.answer(stream)).body == content


async def test_a_call_without_te(server: Echo) -> None:
    async with wire(server.port) as connection:
        assert (await connection.answer(connection.call(te=""))).status == 0


async def test_a_path_that_is_not_utf8(server: Echo) -> None:
    async with wire(server.port) as connection:
        stream = connection.head_of([(name, "/\xff" if name == ":path" else value) for name, value in GRPC])
        answer = await connection.answer(stream)
    assert (answer.status, answer.text) == (12, "the path is no method's name: it is not UTF-8")


async def test_a_message_that_begins_like_none(server: Echo) -> None:
    async with wire(server.port) as connection:
        stream = connection.head()
        connection.data(stream, message(b"x", compressed=2))
        answer = await connection.answer(stream)
    assert (answer.status, answer.text) == (13, "this is no message of gRPC: it begins with byte 2, not with 0 or 1")


async def test_a_length_that_is_not_kept_to(server: Echo) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.call(b"hi", ("content-length", "8")))
        assert answer.reset == PROTOCOL_ERROR
        assert (await connection.answer(connection.call(b"hi", ("content-length", "7")))).status == 0


async def test_trailers_of_a_client_are_nobodys(server: Echo) -> None:
    async with wire(server.port) as connection:
        stream = connection.head()
        # Not all that it brings is there: nobody answers before.
        connection.data(stream, message(b"whole")[:-1], end=False)
        connection.data(stream, b"e", end=False)
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, connection.block([("after", "all")])))
        answer = await connection.answer(stream)
        short = connection.head()
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, short, connection.block([("after", "nothing")])))
        assert (await connection.answer(short)).text == "no message"
    assert (answer.status, answer.body) == (0, message(b"whole"))
    assert "after" not in dict(answer.trailers)


async def test_padding_and_priorities(server: Echo) -> None:
    padded, prioritised = 0x8, 0x20
    async with wire(server.port) as connection:
        block = connection.block(GRPC)
        connection.answers[1] = Answer()
        head = b"\x05" + b"\0\0\0\x07\x10" + block + bytes(5)
        connection.send(frame(HEADERS, END_HEADERS | padded | prioritised, 1, head))
        connection.send(frame(PRIORITY, 0, 1, b"\x80\0\0\x09\xff"))
        connection.send(frame(DATA, END_STREAM | padded, 1, b"\x0a" + message(b"padded") + bytes(10)))
        assert (await connection.answer(1)).body == message(b"padded")


async def test_frames_of_unknown_kinds_are_passed_over(server: Echo) -> None:
    async with wire(server.port) as connection:
        connection.send(frame(0xEE, 0xFF, 0, b"whatever") + frame(0x10, 0, 0, b"\0\0\0\1u=1"))
        assert (await connection.answer(connection.call())).status == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
async def test_methods_of_http(server: Echo, method: str) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.head(end=True, method=method))
    assert dict(answer.fields) == {":status": "405", "allow": "POST", "content-type": "text/plain"}
    assert bool(answer.body) is (method != "HEAD")


@pytest.mark.parametrize(
    "fields", [GRPC[1:], GRPC[:2] + GRPC[3:], (*GRPC, ("Upper", "x")), (*GRPC, ("connection", "x"))]
)
async def test_fields_that_are_not_http2s(server: Echo, fields: tuple[tuple[str, str], ...]) -> None:
    async with wire(server.port) as connection:
        assert (await connection.answer(connection.head_of(fields))).reset == PROTOCOL_ERROR
        assert (await connection.answer(connection.call())).status == 0


async def test_a_method_that_is_not_compiled_goes_up_whatever_its_name(server: Echo) -> None:
    async with wire(server.port) as connection:
        for path in ("/", "/no.Such/Method", "/test.Echo/Compiled/", "/test.Echo/compiled", "/test.Echo/Compiled?x"):
            answer = await connection.answer(connection.call(path=path))
            assert dict(answer.fields)["x-path"] == path


async def test_a_compiled_method_without_a_message_goes_up(server: Echo) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.head(end=True, path="/test.Echo/Compiled"))
    assert (answer.status, answer.text) == (3, "no message")


async def test_calls_of_compiled_methods_are_counted_with_their_times_and_errors() -> None:
    counts = ("compiled", "failed", "up", "in_buckets")
    with echo() as server:
        async with wire(server.port) as connection:
            for method in ("Compiled", "Compiled", "Refused", "Up"):
                await connection.answer(connection.call(path=f"/test.Echo/{method}"))
            quick = server.stats()
            assert [quick[name] for name in counts] == [3, 1, 1, 3]
            await connection.answer(connection.call(b"60", path="/test.Echo/Slow"))
        stats = server.stats()
    assert [stats[name] for name in counts] == [4, 1, 1, 4]
    assert stats["within_50_ms"] == quick["within_50_ms"]
    assert stats["microseconds"] - quick["microseconds"] >= 60_000
