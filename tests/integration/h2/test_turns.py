"""Connections of one thread take turns: whoever has much to say or to hear keeps nobody waiting."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from tests.integration.h2.echo import Echo, echo
from tests.integration.h2.wire import WINDOW_UPDATE, Recorder, frame
from tests.support.waiting import until

INITIAL_WINDOW_SIZE = 4
GATE = "/test.Echo/Gate"

MOST_AT_ONCE = 262_144 + 65_536
"""Bytes that one connection is sent in its turn, at most: the last part of them may go beyond."""


@asynccontextmanager
async def one_turn(server: Echo, heavy: Recorder) -> AsyncIterator[socket.socket]:
    """The socket of a caller who said all that `heavy` has, which brings the server's thread to the gate, after it had
    one turn more; then it is another caller's, who holds the thread."""
    other = Recorder()
    other.begin()
    other.call(path=GATE)
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(2)]
        await until(lambda: server.stats()["accepted"] == 2)
        for number, (one, said) in enumerate(zip(sockets, (heavy.said, other.said), strict=True)):
            one.sendall(said)
            # The second finds the thread at the gate.
            if number == 0:
                await until(lambda: server.stats()["at_gate"] == 1)
        server.open_gate()
        await until(lambda: server.stats()["at_gate"] == 2)
        yield sockets[0]
        server.open_gate()


async def test_calls_of_one_connection_wait_for_those_of_others() -> None:
    heavy = Recorder()
    heavy.begin()
    heavy.call(path=GATE)
    for _ in range(400):
        heavy.call(path="/test.Echo/Compiled")
    with echo() as server:
        async with one_turn(server, heavy):
            # The gate's call, and those that came with it.
            assert 1 <= server.stats()["compiled"] < 200
        await until(lambda: server.stats()["connections"] == 0)


async def test_answers_of_one_connection_wait_for_those_of_others() -> None:
    heavy = Recorder()
    heavy.begin((INITIAL_WINDOW_SIZE, 2**31 - 1))
    heavy.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535)))
    heavy.call(b"2000000", path="/test.Echo/Large")
    heavy.call(path=GATE)
    with echo() as server:
        async with one_turn(server, heavy) as caller:
            # Nothing announces that no more comes.
            caller.settimeout(0.5)
            assert 0 < heard(caller, MOST_AT_ONCE + 1) <= MOST_AT_ONCE
        await until(lambda: server.stats()["connections"] == 0)


def heard(caller: socket.socket, most: int) -> int:
    """Bytes that come until nothing does for a while, or so many have."""
    count = 0
    while count < most:
        try:
            count += len(caller.recv(65_536))
        except TimeoutError:
            break
    return count
