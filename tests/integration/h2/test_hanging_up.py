"""Who hangs up, in part or in whole, and a server that does."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack

from tests.integration.h2.echo import echo
from tests.integration.h2.wire import (
    DATA,
    HEADERS,
    PING,
    RST_STREAM,
    Recorder,
    frame,
    message,
    wire,
)
from tests.support.waiting import until

CANCEL = 8

KILLED = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(bytes.fromhex(sys.argv[2]))
print("said", flush=True)
while connection.recv(65536):
    pass
"""


async def test_who_only_listens_still_gets_answers() -> None:
    with echo() as server:
        async with wire(server.port) as connection:
            calls = [connection.call(b"x" * 100) for _ in range(100)]
            connection.hang_up()
            answers = [await connection.answer(call) for call in calls]
            assert {(answer.status, len(answer.body)) for answer in answers} == {(0, 105)}
            # There is nothing left to say.
            await connection.until_closed()
        await until(lambda: server.stats()["connections"] == 0)
        assert server.stats()["cancelled"] == 0


async def test_a_call_that_its_caller_can_not_end_any_more_is_reset() -> None:
    with echo() as server:
        async with wire(server.port) as connection:
            stream = connection.head()
            connection.data(stream, message(b"never whole")[:-1], end=False)
            connection.hang_up()
            assert (await connection.answer(stream)).reset == CANCEL
            await connection.until_closed()
        assert server.stats()["up"] == 0


async def test_who_listens_and_then_goes_is_missed() -> None:
    with echo() as server:
        async with wire(server.port) as connection:
            connection.call(path="/test.Echo/Held")
            await until(lambda: server.stats()["in_flight"] == 1)
            connection.hang_up()
            # It is asked whether it is there, and its call goes on.
            while await connection.receive() != PING:
                pass
            assert server.stats()["in_flight"] == 1
        await until(lambda: server.stats()["in_flight"] == 0)
        await until(lambda: server.stats()["connections"] == 0)
        assert server.stats()["cancelled"] == 1


async def test_a_client_that_is_killed_has_its_calls_cancelled() -> None:
    recorder = Recorder()
    recorder.begin()
    for _ in range(3):
        recorder.call(path="/test.Echo/Held")
    with echo() as server:
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(server.port), recorder.said.hex()], stdout=subprocess.PIPE
        ) as client:
            await until(lambda: server.stats()["in_flight"] == 3)
            client.kill()
        await until(lambda: server.stats()["in_flight"] == 0)
        assert server.stats()["cancelled"] == 3
        await until(lambda: server.stats()["connections"] == 0)


async def test_who_goes_while_it_is_answered() -> None:
    with echo() as server:
        async with wire(server.port, (4, 2**31 - 1)) as connection:
            connection.send(frame(8, 0, 0, (2**31 - 1 - 65_535).to_bytes(4, "big")))
            for _ in range(10):
                connection.call(b"2000000", path="/test.Echo/Large")
            while await connection.receive() != DATA:
                pass
        await until(lambda: server.stats()["connections"] == 0)
        await until(lambda: server.stats()["waiting_bytes"] == 0)


async def test_a_call_that_is_cancelled_with_its_last_byte_goes_to_nobody() -> None:
    with echo() as server:
        async with wire(server.port) as connection:
            stream = 1
            block = connection.block([(":method", "POST"), (":scheme", "http"), (":path", "/test.Echo/Held"),
                                      ("content-type", "application/grpc")])  # fmt: skip
            connection.send(
                frame(HEADERS, 4, stream, block)
                + frame(DATA, 1, stream, message(b"gone"))
                + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
            )
            connection.head()  # skips the stream
            assert (await connection.answer(connection.call())).status == 0
        stats = server.stats()
        assert (stats["up"], stats["cancelled"], stats["in_flight"]) == (1, 0, 0)


async def test_a_server_that_is_stopped_while_calls_are_up() -> None:
    async with AsyncExitStack() as stack:
        with echo(threads=3) as server:
            connections = [await stack.enter_async_context(wire(server.port)) for _ in range(6)]
            for connection in connections:
                for _ in range(20):
                    connection.call(path="/test.Echo/Held")
            await until(lambda: server.stats()["in_flight"] == 120)
        for connection in connections:
            await connection.until_closed()


async def test_a_server_that_drains_lets_those_go_who_ask_nothing() -> None:
    with echo(threads=2) as server:
        async with wire(server.port) as first, wire(server.port) as second:
            for connection in (first, second):
                await connection.answer(connection.call())
            server.drain()
            for connection in (first, second):
                await connection.until_closed()
                assert connection.goaway == [(2**31 - 1, 0), (1, 0)]
        await until(lambda: server.stats()["connections"] == 0)


async def test_after_the_second_notice_calls_are_not_taken() -> None:
    with echo() as server:
        async with wire(server.port) as connection:
            held = connection.call(path="/test.Echo/Held")
            await until(lambda: server.stats()["in_flight"] == 1)
            server.drain()
            while len(connection.goaway) < 2:
                await connection.receive()
            late = connection.call()
            connection.send(frame(RST_STREAM, 0, held, b"\0\0\0\x08"))
            await connection.until_closed()
            # Above the last stream that was named: its caller may ask elsewhere.
            assert connection.goaway[1][0] == held < late
            assert connection.answers[late].fields == []
        assert server.stats()["up"] == 1
