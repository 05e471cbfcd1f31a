"""Much that costs its sender little: each ends its own connection, and is counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.integration.h2.echo import Echo, echo
from tests.integration.h2.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    GRPC,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Answer,
    Wire,
    frame,
    message,
    wire,
)
from tests.support.waiting import until

PADDED = 0x8


@contextlib.contextmanager
def bounded(**bounds: int) -> Iterator[Echo]:
    """A server that must be well, and hold nothing, after what was done to it."""
    with echo("4", **bounds) as server:
        yield server
        assert server.stats()["in_flight"] == 0


async def is_calmed(server: Echo, connection: Wire, cap: str) -> None:
    """The connection is ended in the right words, counted once, and others are served."""
    await connection.until_closed()
    connection.leave()
    assert connection.goaway[-1][1] == ENHANCE_YOUR_CALM
    assert server.stats()[f"cap_{cap}"] == 1
    async with wire(server.port) as other:
        assert (await other.answer(other.call())).body == message(b"hi")
    await until(lambda: server.stats()["in_flight"] == 0)
    await until(lambda: server.stats()["connections"] == 0)
    await until(lambda: server.stats()["waiting_bytes"] == 0)


@pytest.mark.parametrize(
    ("bound", "flood"),
    [
        ("max_pings", frame(PING, payload=b"12345678") * 50),
        ("max_pings", frame(PRIORITY, 0, 3, b"\0\0\0\0\x10") * 50),
        ("max_pings", frame(GOAWAY, payload=bytes(8) + b"because") * 50),
        ("max_pings", frame(WINDOW_UPDATE, payload=b"\0\0\0\1") * 50),
        ("max_settings", frame(SETTINGS) * 50),
        ("max_settings", frame(SETTINGS, payload=struct.pack(">HI", 4, 1000)) * 50),
    ],
    ids=["pings", "priorities", "goaways", "windows", "settings", "window-settings"],
)
async def test_frames_that_carry_nothing(bound: str, flood: bytes) -> None:
    with bounded(**{bound: 10}) as server:
        async with wire(server.port) as connection:
            # One call keeps it from being done with.
            connection.head()
            connection.send(flood)
            await is_calmed(server, connection, bound.removeprefix("max_"))


@pytest.mark.parametrize("empty", [(0, b""), (PADDED, b"\xc8" + bytes(200))], ids=["bare", "padded"])
async def test_data_frames_without_data(empty: tuple[int, bytes]) -> None:
    with bounded(max_pings=10) as server:
        async with wire(server.port) as connection:
            stream = connection.head()
            connection.send(frame(DATA, empty[0], stream, empty[1]) * 50)
            await is_calmed(server, connection, "pings")


async def test_a_ping_with_each_answer_is_no_flood() -> None:
    with bounded(max_pings=5) as server:
        async with wire(server.port) as connection:
            for _ in range(100):
                connection.send(frame(PING, payload=b"how far?"))
                assert (await connection.answer(connection.call())).status == 0
                connection.send(frame(WINDOW_UPDATE, payload=struct.pack(">I", 7)))
            while connection.pongs < 100:
                await connection.receive()
            assert not connection.goaway


async def test_bounds_of_a_second_are_those_of_each_second_anew() -> None:
    with bounded(max_pings=2) as server:
        async with wire(server.port) as connection:
            connection.head()
            for count in range(1, 5):
                connection.send(frame(PING, payload=b"are you?"))
                while connection.pongs < count:
                    await connection.receive()
                # No second has more than two of them, however late it is.
                await asyncio.sleep(0.5)
            assert not connection.goaway


@pytest.mark.parametrize("method", ["Held", "Compiled"])
async def test_rapid_resets(method: str) -> None:
    with bounded(max_resets=20) as server:
        async with wire(server.port) as connection:
            for _ in range(2000):
                stream = connection.call(path=f"/test.Echo/{method}")
                connection.send(frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))
            await is_calmed(server, connection, "resets")


async def test_resets_that_the_server_is_made_to_send() -> None:
    with bounded(max_resets=20) as server:
        async with wire(server.port) as connection:
            for _ in range(200):
                stream = connection.call(path="/test.Echo/Held")
                # More than a window can be.
                connection.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 2**31 - 1)))
            await is_calmed(server, connection, "resets")


async def test_calls_beyond_those_at_a_time() -> None:
    with bounded(max_streams=10, max_resets=20) as server:
        async with wire(server.port) as connection:
            for _ in range(10):
                connection.head()
            for _ in range(200):
                connection.call()
            await connection.until_closed()
        assert connection.goaway[-1][1] == ENHANCE_YOUR_CALM
        assert server.stats()["cap_streams"] > 20


async def test_fields_that_unfold() -> None:
    """Each byte stands for 3,900 that were sent before."""
    with bounded(max_header_bytes=8192) as server:
        async with wire(server.port) as connection:
            connection.acknowledges = False
            head = connection.block([*GRPC, ("bomb", "x" * 3900)])
            known = connection.block([("bomb", "x" * 3900)])
            assert len(known) == 1
            connection.send(frame(HEADERS, END_STREAM, 1, head) + frame(CONTINUATION, END_HEADERS, 1, known * 10_000))
            await is_calmed(server, connection, "headers")


async def test_trailers_that_unfold() -> None:
    with bounded(max_header_bytes=8192) as server:
        async with wire(server.port) as connection:
            stream = connection.head(("bomb", "x" * 3900))
            known = connection.block([("bomb", "x" * 3900)])
            connection.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, known * 10_000))
            await is_calmed(server, connection, "headers")


async def test_a_list_of_binary_values_counts_each() -> None:
    with bounded(max_header_bytes=8192) as server:
        async with wire(server.port) as connection:
            name = "x" * 1000 + "-bin"
            refused = await connection.answer(connection.call(b"", (name, "," * 1000)))
            assert (refused.status, "metadata" in refused.text) == (8, True)
            # Several are fine.
            answer = await connection.answer(connection.call(b"", ("x-bin", "AA,AQ,Ag")))
        assert [value for _, value in answer.trailers if value != "0"] == ["AA", "AQ", "Ag"]
        assert server.stats()["cap_headers"] == 1


async def test_continuations_without_end() -> None:
    with bounded() as server:
        async with wire(server.port) as connection:
            connection.acknowledges = False
            connection.send(frame(HEADERS, 0, 1, connection.block([("a", "b")])))
            connection.send(frame(CONTINUATION, 0, 1) * 10_000)
            await is_calmed(server, connection, "headers")


async def test_a_field_in_many_parts() -> None:
    with bounded() as server:
        async with wire(server.port) as connection:
            await connection.answer(connection.call())
            block = connection.block([*GRPC, ("long", "x" * 200)])
            parts = [block[start : start + 10] for start in range(0, len(block), 10)]
            heads = [(HEADERS, 0)] + [(CONTINUATION, 0)] * (len(parts) - 2) + [(CONTINUATION, END_HEADERS)]
            connection.answers[3] = Answer()
            for (kind, flags), part in zip(heads, parts, strict=True):
                connection.send(frame(kind, flags, 3, part))
            connection.data(3, message(b"whole"))
            answer = await connection.answer(3)
        assert (answer.body, dict(answer.trailers)["long"]) == (message(b"whole"), "x" * 200)


async def test_fields_that_drip() -> None:
    with bounded(message_ms=200) as server:
        async with wire(server.port) as connection:
            connection.acknowledges = False
            connection.send(frame(HEADERS, 0, 1, connection.block([*GRPC])))
            part = frame(CONTINUATION, 0, 1, connection.block([("a", "b" * 1000)]))

            async def drip() -> None:
                for byte in part:
                    connection.send(bytes([byte]))
                    await asyncio.sleep(0.01)

            dripping = asyncio.create_task(drip())
            await is_calmed(server, connection, "slow_message")
            dripping.cancel()


def test_who_goes_on_after_the_end_is_not_heard_for_long() -> None:
    with bounded() as server, socket.create_connection(("127.0.0.1", server.port), 20) as caller:
        # No such stream: this is the end, which the caller has a moment to read.
        caller.sendall(PREFACE + frame(SETTINGS) + frame(DATA, 0, 1, b"nobody asked"))
        said, piece = 0, bytes(1 << 20)
        with contextlib.suppress(ConnectionError):
            while said < 64 * len(piece):
                said += caller.send(piece)
        # What it was read, and what sockets hold.
        assert said < 32 * len(piece)


async def test_a_body_without_end() -> None:
    with bounded(max_message_bytes=1000) as server:
        async with wire(server.port) as connection:
            stream = connection.head()
            connection.data(stream, message(b"x" * 100_000_000)[:5], end=False)
            refused = await connection.answer(stream)
            assert (refused.status, refused.text) == (8, "the message has 100000000 bytes, at most 1000 are taken")
            # What it goes on to say is read, and forgotten, as far as windows let it.
            for turn in range(40):
                connection.data(stream, bytes(50_000), end=False)
                connection.send(frame(PING, payload=b"received"))
                pongs = connection.pongs
                while connection.pongs == pongs:
                    await connection.receive()
                if turn % 10 == 9:
                    assert (await connection.answer(connection.call())).status == 0
            assert server.stats()["waiting_bytes"] < 10_000
            assert not connection.goaway
