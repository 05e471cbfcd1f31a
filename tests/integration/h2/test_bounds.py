"""Whoever asks for too much is refused, and nobody else notices."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.h2.echo import Echo, echo
from tests.integration.h2.wire import (
    DATA,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Recorder,
    Wire,
    frame,
    message,
    wire,
)
from tests.support.waiting import until

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 6
REFUSED_STREAM = 7


async def well(server: Echo) -> bool:
    """Whether others are served."""
    async with wire(server.port) as connection:
        return (await connection.answer(connection.call())).body == message(b"hi")


async def test_bounds_are_told() -> None:
    with echo(max_streams=7, max_header_bytes=1234, max_message_bytes=100_000) as server:
        async with wire(server.port) as connection:
            await connection.answer(connection.call())
    assert connection.settings == {
        MAX_CONCURRENT_STREAMS: 7,
        INITIAL_WINDOW_SIZE: 100_005,
        MAX_HEADER_LIST_SIZE: 1234,
    }


@pytest.mark.parametrize(("message_bytes", "window"), [(1000, 2**20), (3_000_000, 3_000_005)])
async def test_calls_together_may_send_more_than_one_alone(message_bytes: int, window: int) -> None:
    with echo(max_message_bytes=message_bytes) as server:
        async with wire(server.port) as connection:
            await connection.answer(connection.call())
    assert 65_535 + connection.granted == window


async def test_connections() -> None:
    with echo(max_connections=2) as server:
        async with wire(server.port) as first, wire(server.port) as second, wire(server.port) as third:
            for connection in (first, second):
                assert (await connection.answer(connection.call())).status == 0
            await third.until_closed()
            assert server.stats()["cap_connections"] == 1
        await until(lambda: server.stats()["connections"] == 0)
        assert await well(server)


async def test_streams() -> None:
    with echo(max_streams=2) as server:
        async with wire(server.port) as connection:
            # Until it has said that it knows of the bound, the server may not hold it to that.
            await connection.answer(connection.call())
            for _ in range(2):
                connection.call(path="/test.Echo/Held")
            third = await connection.answer(connection.call())
            # It is that call alone which is refused.
            assert (await connection.answer(connection.call(path="/test.Echo/Held"))).reset == REFUSED_STREAM
            connection.send(frame(RST_STREAM, 0, 3, b"\0\0\0\x08"))
            assert (await connection.answer(connection.call())).status == 0
        assert third.reset == REFUSED_STREAM
        assert server.stats()["cap_streams"] == 2


@pytest.mark.parametrize("name", ["some", "some-bin"])
async def test_metadata(name: str) -> None:
    with echo(max_header_bytes=1000) as server:
        async with wire(server.port) as connection:
            fits = await connection.answer(connection.call(b"", (name, "A" * 600)))
            over = await connection.answer(connection.call(b"", (name, "A" * 1000)))
            many = await connection.answer(connection.call(b"", *((f"x{index}", "") for index in range(40))))
            again = await connection.answer(connection.call())
        assert [answer.status for answer in (fits, over, many, again)] == [0, 8, 8, 0]
        assert "metadata" in over.text
        assert server.stats()["cap_headers"] == 2


async def test_fields_that_never_end() -> None:
    with echo(message_ms=300) as server:
        async with wire(server.port) as connection:
            # Nothing may stand between the parts of a block, not even an acknowledgement.
            connection.acknowledges = False
            connection.send(frame(HEADERS, 0, 1, connection.block([("a", "b" * 100)])))
            await connection.until_closed()
        assert connection.goaway[-1][1] == ENHANCE_YOUR_CALM
        assert server.stats()["cap_slow_message"] == 1
        assert await well(server)


async def test_messages() -> None:
    with echo(max_message_bytes=1000) as server:
        async with wire(server.port) as connection:
            fits = await connection.answer(connection.call(b"x" * 1000))
            over = await connection.answer(connection.call(b"x" * 1001))
            stream = connection.head()
            connection.data(stream, struct.pack(">BI", 0, 2**32 - 1), end=False)
            huge = await connection.answer(stream)
        assert (fits.status, over.status, huge.status) == (0, 8, 8)
        assert over.text == "the message has 1001 bytes, at most 1000 are taken"
        assert server.stats()["cap_message"] == 2


async def test_calls_in_flight() -> None:
    with echo(max_in_flight=3) as server:
        async with wire(server.port) as connection:
            held = [connection.call(path="/test.Echo/Held") for _ in range(3)]
            await until(lambda: server.stats()["in_flight"] == 3)
            assert (await connection.answer(connection.call())).status == 8
            # What is answered at once is in nobody's way.
            assert (await connection.answer(connection.call(path="/test.Echo/Compiled"))).status == 0
            connection.send(frame(RST_STREAM, 0, held[0], b"\0\0\0\x08"))
            await until(lambda: server.stats()["in_flight"] == 2)
            assert (await connection.answer(connection.call())).status == 0
        assert server.stats()["cap_in_flight"] == 1


async def test_what_all_calls_hold() -> None:
    with echo(max_waiting_bytes=200_000, max_message_bytes=65_536) as server:
        async with wire(server.port) as connection:
            part = message(b"x" * 65_536)[:-1]
            streams = [connection.head() for _ in range(8)]
            for stream in streams:
                for start in range(0, len(part), 16_384):
                    connection.data(stream, part[start : start + 16_384], end=False)
            while not any(connection.answers[stream].ended for stream in streams):
                await connection.receive()
            assert server.stats()["cap_waiting"] >= 1
        await until(lambda: server.stats()["waiting_bytes"] == 0)
        assert await well(server)


async def test_calls_that_bring_nothing_are_held_too() -> None:
    with echo(max_waiting_bytes=200_000) as server:
        async with wire(server.port) as connection:
            streams = [connection.head() for _ in range(500)]
            while not any(connection.answers[stream].ended for stream in streams):
                await connection.receive()
            (refused, *_) = [answer for answer in connection.answers.values() if answer.ended]
            assert refused.status == 8
            assert server.stats()["cap_waiting"] >= 1
        await until(lambda: server.stats()["waiting_bytes"] == 0)
        assert await well(server)


@pytest.mark.parametrize("said", [b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS)[:5]])
async def test_connections_that_do_not_greet_are_closed(said: bytes) -> None:
    with echo(message_ms=200) as server:
        async with Wire(server.port) as connection:
            connection.acknowledges = False
            connection.send(said)
            await connection.until_closed()
        assert server.stats()["cap_slow_message"] == 1
        assert await well(server)


async def test_an_idle_connection_is_told_before_it_is_closed() -> None:
    with echo(idle_ms=200) as server:
        async with wire(server.port) as connection:
            await connection.answer(connection.call())
            await connection.until_closed()
        assert connection.goaway[-1][1] == 0
        assert server.stats()["cap_idle"] == 1


async def test_pings_do_not_keep_a_connection() -> None:
    with echo(idle_ms=300) as server:
        async with wire(server.port) as connection:

            async def ping() -> None:
                while True:
                    connection.send(frame(PING, payload=b"12345678"))
                    await asyncio.sleep(0.02)

            pinging = asyncio.create_task(ping())
            await connection.until_closed()
            pinging.cancel()
        assert connection.pongs > 1


async def test_a_message_that_does_not_come() -> None:
    with echo(message_ms=200) as server:
        async with wire(server.port) as connection:
            stream = connection.head()
            connection.data(stream, message(b"never whole")[:-1], end=False)
            answer = await connection.answer(stream)
            # Others on the same connection are served.
            assert (await connection.answer(connection.call())).status == 0
        assert (answer.status, answer.text) == (3, "no message")
        assert server.stats()["cap_slow_message"] == 1


async def test_an_answer_that_is_not_taken_for_want_of_window() -> None:
    with echo(write_ms=300) as server:
        async with wire(server.port, (INITIAL_WINDOW_SIZE, 0)) as connection:
            answer = await connection.answer(connection.call())
            assert answer.reset is not None
        assert server.stats()["cap_slow_reader"] == 1
        assert await well(server)


async def test_a_caller_that_reads_nothing() -> None:
    with echo(write_ms=300) as server:
        async with wire(server.port, (INITIAL_WINDOW_SIZE, 2**31 - 1)) as connection:
            connection.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535)))
            # More than sockets hold.
            for _ in range(20):
                connection.call(b"1000000", path="/test.Echo/Large")
            await until(lambda: server.stats()["cap_slow_reader"] >= 1)
            await until(lambda: server.stats()["connections"] == 0)
        await until(lambda: server.stats()["waiting_bytes"] == 0)
        assert await well(server)


@contextmanager
def silent(place: str, *sizes: int, window: int = 2**31 - 1) -> Iterator[None]:
    """A caller on a unix socket who asks for answers of these sizes, and takes nothing of them."""
    recorder = Recorder()
    recorder.begin((INITIAL_WINDOW_SIZE, window))
    recorder.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535)))
    for size in sizes:
        recorder.call(str(size).encode(), path="/test.Echo/Large")
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(place)
        caller.sendall(recorder.said)
        yield


# Nothing at all; what the socket holds; more than it counts as writable with; more than it holds; many such.
@pytest.mark.parametrize("sizes", [(), (0,), (60_000,), (150_000,), (300_000,), (1_000_000,), (1_000_000,) * 20])
async def test_a_caller_on_a_unix_socket_that_reads_nothing(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    # Here the system has no clock for what is not taken, as TCP has: there is ours alone.
    place = str(tmp_path / "echo")
    with echo(place, write_ms=300) as server:
        with silent(place, *sizes):
            await until(lambda: server.stats()["cap_slow_reader"] > 0)
            await until(lambda: server.stats()["connections"] == 0)
        assert server.stats()["accepted"] == 1
        assert server.stats()["waiting_bytes"] == 0


async def test_a_caller_on_a_unix_socket_that_reads_nothing_and_has_no_window(tmp_path: Path) -> None:
    place = str(tmp_path / "echo")
    with echo(place, write_ms=300) as server, silent(place, 10, window=0):
        await until(lambda: server.stats()["cap_slow_reader"] > 0)
        await until(lambda: server.stats()["connections"] == 0)


async def test_a_caller_on_a_unix_socket_that_has_read_all_is_not_closed(tmp_path: Path) -> None:
    place = str(tmp_path / "echo")
    with echo(place, write_ms=2000) as server:
        async with Wire(0, place) as connection:
            connection.begin()
            await connection.answer(connection.call(path="/test.Echo/Compiled"))
            while not connection.granted:
                await connection.receive()
            # Another one, who came later and reads nothing, has had its time.
            with silent(place):
                await until(lambda: server.stats()["cap_slow_reader"] == 1)
            assert (await connection.answer(connection.call())).status == 0
        assert server.stats()["cap_slow_reader"] == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        b"\0" * 1000,
        frame(DATA, 0, 1, b"no stream"),
        frame(HEADERS, END_HEADERS, 2, b"\x80"),
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        frame(PING, payload=b"short"),
        frame(SETTINGS, payload=b"12345"),
        frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"),
        b"\xff\xff\xff" + b"\0\0\0\0\0\1" + b"x" * 20_000,
    ],
    ids=["tls", "http1", "zeros", "data", "even", "hpack", "window", "ping", "settings", "push", "oversized"],
)
async def test_what_is_no_http2_ends_its_connection(sent: bytes) -> None:
    with echo() as server:
        async with Wire(server.port) as connection:
            connection.acknowledges = False
            if not sent.startswith((b"\x16\x03", b"GET ", b"\0\0\0\0")):
                connection.begin()
            connection.send(sent)
            await connection.until_closed()
        assert await well(server)
