"""What an answer may carry, and how it arrives where windows are narrow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import grpc
import pytest

from tests.integration.h2.echo import Echo, echo, method_of
from tests.integration.h2.wire import DATA, WINDOW_UPDATE, Answer, frame, message, wire

INITIAL_WINDOW_SIZE = 4

RESERVED = (
    "grpc-status",
    "grpc-message",
    "grpc-encoding",
    "grpc-timeout",
    "content-type",
    "content-length",
    "te",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
)
"""By these an answer says what it is, or HTTP/2 does not have them."""


@pytest.fixture(scope="module")
def server() -> Iterator[Echo]:
    with echo() as running:
        yield running


def packed(*fields: tuple[str, bytes]) -> bytes:
    """Fields as `h2_fields_add` packs them."""
    return b"".join(struct.pack("=II", len(name), len(value)) + name.encode() + value for name, value in fields)


async def answer_to(server: Echo, method: str, content: bytes) -> Answer:
    """What the method says to this message."""
    async with wire(server.port) as connection:
        return await connection.answer(connection.call(content, path=f"/test.Echo/{method}"))


async def test_an_error_has_its_initial_metadata_before_its_status(server: Echo) -> None:
    answer = await answer_to(server, "Both", packed(("a", b"b"), ("c-bin", b"\xff")))
    assert answer.fields == [(":status", "200"), ("content-type", "application/grpc"), ("a", "b"), ("c-bin", "/w")]
    assert answer.trailers == [("grpc-status", "9"), ("a", "b"), ("c-bin", "/w")]
    assert (answer.ended, answer.body) == (True, b"")


async def test_initial_metadata_of_an_error_reaches_a_client(server: Echo) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await method_of(channel, "/test.Echo/Both")(packed(("first", b"1")), timeout=10)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert dict(raised.value.initial_metadata()) == {"first": "1"}
    assert dict(raised.value.trailing_metadata()) == {"first": "1"}


@pytest.mark.parametrize("method", ["Fields", "Both"])
async def test_many_fields(server: Echo, method: str) -> None:
    fields = [(f"field-{number}", str(number).encode()) for number in range(900)]
    answer = await answer_to(server, method, packed(*fields))
    assert [(name, value.encode()) for name, value in answer.trailers[1:]] == fields


@pytest.mark.parametrize("name", ["much", "much-bin"])
@pytest.mark.parametrize(("method", "status"), [("Fields", 0), ("Both", 9)])
async def test_a_large_field(server: Echo, method: str, status: int, name: str) -> None:
    answer = await answer_to(server, method, packed((name, b"A" * 36_000)))
    assert answer.status == status
    assert len(dict(answer.trailers)[name]) == (48_000 if name == "much-bin" else 36_000)


async def test_more_fields_than_are_sent(server: Echo) -> None:
    answer = await answer_to(server, "Fields", packed(("much", b"A" * 49_152)))
    assert (answer.status, answer.text) == (8, "the answer's metadata has 49188 bytes, at most 49152 are sent")


@pytest.mark.parametrize(
    "field",
    [("", b"x"), (":status", b"500"), ("Upper", b"x"), ("a b", b"x"), ("a", b"x\ny"), ("a", b"x\ry"), ("a", b"x\0y")],
)
async def test_fields_that_http2_cannot_carry(server: Echo, field: tuple[str, bytes]) -> None:
    answer = await answer_to(server, "Fields", packed(("good", b"x"), field))
    assert (answer.status, answer.trailers) == (13, [])
    assert answer.text == "the answer's metadata has a name or a value that HTTP/2 cannot carry"


@pytest.mark.parametrize(("method", "status"), [("Fields", 0), ("Both", 9)])
async def test_fields_by_which_the_protocol_speaks_are_left_out(server: Echo, method: str, status: int) -> None:
    mine = [("grpc-status-details-bin", "AQ"), ("grpc-retry-pushback-ms", "5"), ("t", "5"), ("content", "5")]
    fields = [(name, b"5") for name in RESERVED]
    fields[5:5] = [("grpc-status-details-bin", b"\1"), ("grpc-retry-pushback-ms", b"5")]
    answer = await answer_to(server, method, packed(*fields, ("t", b"5"), ("content", b"5")))
    assert answer.trailers == [("grpc-status", str(status)), *mine]
    assert answer.fields[:2] == [(":status", "200"), ("content-type", "application/grpc")]
    assert answer.fields[2:] == ([] if status == 0 else mine)


async def test_space_around_values_is_left_out(server: Echo) -> None:
    answer = await answer_to(server, "Fields", packed(("a", b" \t x y\t "), ("b", b"  "), ("c", b"")))
    assert answer.trailers[1:] == [("a", "x y"), ("b", ""), ("c", "")]


@pytest.mark.parametrize(
    "words", ["", "plain", " around ", "  ", "100 %", "%41", "two\nlines", "\x7f", "ü€😀", "\0", "x" * 4096]
)
async def test_words_of_a_status(server: Echo, words: str) -> None:
    answer = await answer_to(server, "Words", words.encode())
    assert answer.status == 9
    assert unquote_to_bytes(answer.text).decode() == words
    assert answer.text.strip() == answer.text


async def test_words_of_a_status_are_cut_between_characters(server: Echo) -> None:
    answer = await answer_to(server, "Words", ("x" * 4094 + "€ and more").encode())
    assert unquote_to_bytes(answer.text).decode() == "x" * 4094


async def test_an_answer_larger_than_windows(server: Echo) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = method_of(channel, "/test.Echo/Large")
        assert await call(b"4000000", timeout=20) == bytes(4_000_000)


async def test_a_window_that_opens_byte_by_byte(server: Echo) -> None:
    async with wire(server.port, (INITIAL_WINDOW_SIZE, 1)) as connection:
        stream = connection.call(b"window")
        answer = connection.answers[stream]
        while not answer.ended:
            if await connection.receive() == DATA:
                connection.send(frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1"))
    assert (answer.status, answer.body) == (0, message(b"window"))


async def test_a_call_without_window_is_in_nobodys_way(server: Echo) -> None:
    async with wire(server.port, (INITIAL_WINDOW_SIZE, 0)) as connection:
        closed, opened = connection.call(b"closed"), connection.call(b"opened")
        connection.send(frame(WINDOW_UPDATE, 0, opened, struct.pack(">I", 1000)))
        assert (await connection.answer(opened)).body == message(b"opened")
        # An error needs no window.
        assert (await connection.answer(connection.call(path="/test.Echo/Refused"))).status == 7
        assert not connection.answers[closed].ended
        connection.send(frame(WINDOW_UPDATE, 0, closed, struct.pack(">I", 1000)))
        assert (await connection.answer(closed)).body == message(b"closed")


async def test_an_answer_may_go_beyond_what_calls_hold_but_not_twice_as_far() -> None:
    with echo(max_waiting_bytes=1_000_000) as small:
        over = await answer_to(small, "Large", b"2100000")
        fits = await answer_to(small, "Large", b"60000")
        assert (over.status, over.text) == (8, "the server holds as much as it may; try again in a moment")
        assert (fits.status, len(fits.body)) == (0, 60_005)
        assert small.stats()["cap_waiting"] == 1
