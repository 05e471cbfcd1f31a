"""One unary call: what arrives, what is answered, and in which words."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import grpc
import pytest

from tests.integration.h2.echo import Echo, echo
from tests.integration.h2.wire import DATA, END_STREAM, frame, message, wire
from tests.support.waiting import until


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    with echo() as running:
        yield running


@pytest.mark.parametrize("method", ["Compiled", "Up"])
@pytest.mark.parametrize("size", [0, 1, 1000, 16_379, 16_380, 65_536])
async def test_a_message_comes_back(server: Echo, method: str, size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(f"/test.Echo/{method}")
        assert await call(content, timeout=10) == content


async def test_what_is_known_of_a_call(server: Echo) -> None:
    metadata = (("a", "b"), ("x-bin", b"\0\xff"), ("x-bin", b"second"), ("a", "c"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/test.Echo/Up")(b"", metadata=metadata, timeout=10)
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


async def test_a_refusal_has_its_status_its_words_and_its_details(server: Echo) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/test.Echo/Refused")(b"", timeout=10)
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
    assert (dict(answer.fields)[":status"], answer.status) == ("415", None)


async def test_other_methods_of_http_are_405(server: Echo) -> None:
    async with wire(server.port) as connection:
        answer = await connection.answer(connection.head(end=True, method="GET"))
    assert answer.fields == [(":status", "405"), ("allow", "POST")]


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
    stats = server.stats()
    assert (stats["in_flight"], stats["waiting_bytes"]) == (0, 0)


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
