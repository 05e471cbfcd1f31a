"""Bad clients of a hot port, as a program of its own: `python -m tests.faults.hot_attacks NAME PORT ...`.

Each says what was written down beforehand, whatever it is told, so that it costs its own side next to nothing. How much
is bounded: so many connections in all, or so many begun in each second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import enum
import itertools
import random
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import hpack

from tests.integration.h2.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GRPC,
    HEADERS,
    LARGEST,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Wire,
    frame,
    message,
)

CHECK = "/grpc.health.v1.Health/Check"
NOBODYS = "/test.Nobody/Answers"
"""Only Python knows that there is no such method."""

PADDED = 0x8
INITIAL_WINDOW_SIZE = 4
LARGEST_WINDOW = 2**31 - 1
HUNDRED_MEGABYTES = 100_000_000
READY = "ready"
"""What the program says when it begins."""

MOST_DEAF_CALLS = 1_000_000
"""Whose answers are more than sockets hold."""
_SMALL_BUFFER = 4096
_DRIP_SECONDS = 0.05


class End(enum.Enum):
    """What a client does when it has said all."""

    WAIT = enum.auto()
    """Listens until it is cut off."""
    STAY = enum.auto()
    """The same, but nobody cuts it off: what it did is refused call by call."""
    DEAF = enum.auto()
    """Stays, and reads nothing."""
    HANG_UP = enum.auto()
    """Closes its side, and listens until the other is closed."""
    LEAVE = enum.auto()
    RESET = enum.auto()
    """Is gone, as a process that was killed with unread answers."""


Script = Callable[[int], Iterable[bytes]]
"""What the client of this number says, piece by piece."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What its clients do. `caps`: the bounds that it runs into, by the names that they are counted by.

    `connections`: so many are plenty. `rate`: so many begun in a second are much, and still leave the attacker's core
    to others. `drips`: all but their first piece comes a byte at a time, slowly.
    """

    script: Script
    caps: tuple[str, ...] = ()
    end: End = End.WAIT
    connections: int = 10
    rate: int = 20
    drips: bool = False


class _Said(Wire):
    """A client that only writes down what it would say."""

    def __init__(self, *settings: tuple[int, int]) -> None:
        super().__init__(0)
        self.said = b""
        self.begin(*settings)

    def send(self, data: bytes) -> None:
        self.said += data


def _same(make: Callable[[], bytes]) -> Script:
    """All clients say the same, which is made once."""
    made: list[bytes] = []

    def script(_: int) -> Iterable[bytes]:
        if not made:
            made.append(make())
        return made

    return script


def _frames(*flood: bytes, times: int = 1000) -> Script:
    """Frames without a call, but for one that keeps the connection from being done with."""

    def make() -> bytes:
        client = _Said()
        client.head()
        return client.said + b"".join(flood) * times

    return _same(make)


def _malformed(number: int) -> Iterable[bytes]:
    begun = PREFACE + frame(SETTINGS)
    noise = random.Random(number)
    wrong = (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise.randbytes(500),
        b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        PREFACE[:-4] + b"XX\r\n" + frame(SETTINGS),
        begun + frame(DATA, 0, 1, b"no stream"),
        begun + frame(HEADERS, END_HEADERS, 2, b"\x80"),
        begun + frame(HEADERS, END_HEADERS, 1, b"\xff" * 5),
        begun + frame(HEADERS, END_HEADERS, 1, noise.randbytes(2000)),
        begun + frame(HEADERS, END_HEADERS | 0x8 | 0x20, 1, b"\xff"),
        begun + frame(CONTINUATION, END_HEADERS, 1, b""),
        begun + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        begun + frame(PING, payload=b"short"),
        begun + frame(SETTINGS, payload=b"12345"),
        begun + frame(SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, 2**32 - 1)),
        begun + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"),
        begun + frame(RST_STREAM, 0, 0, b"\0\0\0\x08"),
        begun + b"\xff\xff\xff" + b"\0\0\0\0\0\1" + bytes(20_000),
        begun + noise.randbytes(5000),
        noise.randbytes(5000),
    )
    return [wrong[number % len(wrong)]]


def _parts(content: bytes) -> list[bytes]:
    return [content[start : start + LARGEST] for start in range(0, len(content), LARGEST)]


def _continuations() -> bytes:
    client = _Said()
    return client.said + frame(HEADERS, 0, 1, client.block(GRPC)) + frame(CONTINUATION, 0, 1) * 10_000


def _unfolding() -> bytes:
    client = _Said()
    head = client.block([*GRPC, ("bomb", "x" * 3900)])
    bomb = client.block([("bomb", "x" * 3900)]) * 10_000
    return client.said + frame(HEADERS, END_STREAM, 1, head) + frame(CONTINUATION, END_HEADERS, 1, bomb)


def _huge_metadata() -> bytes:
    client = _Said()
    fields = [*GRPC, *((f"x-{number}", "~" * 16_000) for number in range(40))]
    block = hpack.Encoder().encode(fields, huffman=False)
    first, *more, last = _parts(block)
    said = [frame(HEADERS, END_STREAM, 1, first), *(frame(CONTINUATION, 0, 1, part) for part in more)]
    return client.said + b"".join(said) + frame(CONTINUATION, END_HEADERS, 1, last)


def _rapid_resets(path: str, after: bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        client = _Said()
        for _ in range(3000):
            stream = client.call(path=path)
            client.send(after[:4] + b"\0" + struct.pack(">I", stream) + after[9:])
        return client.said

    return make


def _more_calls_than_may_be() -> bytes:
    client = _Said()
    for _ in range(3000):
        client.head(path=NOBODYS)
    return client.said


def _starved() -> bytes:
    client = _Said((INITIAL_WINDOW_SIZE, 0))
    for _ in range(100):
        client.call(b"", path=CHECK)
    return client.said


def _deaf(_: int) -> Iterator[bytes]:
    client = _Said((INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
    client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", LARGEST_WINDOW - 65_535)))
    fields = [(name, CHECK if name == ":path" else value) for name, value in GRPC]
    # By then all of them are in the table, so that their block is the same for each call.
    yield client.said + frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block(fields))
    # Padded, so that what is read at a time has no more calls than may be.
    block, empty = (b"\xff" + part + bytes(255) for part in (client.block(fields), message(b"")))
    for first in range(3, MOST_DEAF_CALLS, 200):
        yield b"".join(
            frame(HEADERS, END_HEADERS | PADDED, stream, block) + frame(DATA, END_STREAM | PADDED, stream, empty)
            for stream in range(first, first + 200, 2)
        )


def _hundred_megabytes(_: int) -> Iterator[bytes]:
    client = _Said()
    stream = client.head(path=CHECK)
    yield client.said + frame(DATA, 0, stream, struct.pack(">BI", 0, HUNDRED_MEGABYTES))
    part = frame(DATA, 0, stream, bytes(LARGEST)) * 4
    yield from itertools.repeat(part, HUNDRED_MEGABYTES // (4 * LARGEST))


def _never_whole() -> bytes:
    client = _Said()
    whole = message(bytes(60_000))[:-1]
    said = []
    for _ in range(190):
        stream = client.head(path=CHECK)
        said += [client.said, *(frame(DATA, 0, stream, part) for part in _parts(whole))]
        client.said = b""
    return b"".join(said)


def _truncated_prefixes(*, end: bool) -> Callable[[], bytes]:
    def make() -> bytes:
        client = _Said()
        for number in range(100):
            client.data(client.head(path=NOBODYS), message(b"cut")[: number % 5], end=end)
        return client.said

    return make


def _calls(path: str, count: int = 100) -> Callable[[], bytes]:
    def make() -> bytes:
        client = _Said()
        for _ in range(count):
            client.call(b"", path=path)
        return client.said

    return make


def _half_a_call() -> bytes:
    client = _Said()
    client.data(client.head(path=NOBODYS), message(b"never whole")[:-1], end=False)
    return client.said


def _slow_preface(_: int) -> Iterable[bytes]:
    return b"", PREFACE + frame(SETTINGS, payload=bytes(6 * 30))


def _slow_fields(_: int) -> Iterable[bytes]:
    client = _Said()
    block = client.block([*GRPC, ("slow", "x" * 5000)])
    return client.said + frame(HEADERS, 0, 1, block[:20]), frame(CONTINUATION, END_HEADERS, 1, block[20:])


def _slow_message(_: int) -> Iterable[bytes]:
    client = _Said()
    stream = client.head(path=NOBODYS)
    return client.said, frame(DATA, END_STREAM, stream, message(bytes(5000)))


ATTACKS: Mapping[str, Attack] = {
    "malformed frames": Attack(_malformed, end=End.HANG_UP, connections=90, rate=100),
    "continuations": Attack(_same(_continuations), ("headers",)),
    "fields that unfold": Attack(_same(_unfolding), ("headers",)),
    "huge metadata": Attack(_same(_huge_metadata), ("headers",), End.STAY),
    "rapid resets": Attack(_same(_rapid_resets(CHECK, frame(RST_STREAM, payload=b"\0\0\0\x08"))), ("resets",)),
    "rapid resets, up": Attack(_same(_rapid_resets(NOBODYS, frame(RST_STREAM, payload=b"\0\0\0\x08"))), ("resets",)),
    "resets asked for": Attack(
        _same(_rapid_resets(NOBODYS, frame(WINDOW_UPDATE, payload=struct.pack(">I", LARGEST_WINDOW)))), ("resets",)
    ),
    "too many calls": Attack(_same(_more_calls_than_may_be), ("streams",)),
    "pings": Attack(_frames(frame(PING, payload=b"12345678")), ("pings",)),
    "settings": Attack(_frames(frame(SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, 1))), ("settings",)),
    "window updates": Attack(_frames(frame(WINDOW_UPDATE, payload=b"\0\0\0\1")), ("pings",)),
    "priorities": Attack(_frames(frame(PRIORITY, 0, 3, b"\0\0\0\0\x10")), ("pings",)),
    "empty data": Attack(_frames(frame(DATA, 0, 1)), ("pings",)),
    "slow prefaces": Attack(_slow_preface, ("slow_message",), drips=True, connections=30),
    "slow fields": Attack(_slow_fields, ("slow_message",), drips=True, connections=30),
    "slow messages": Attack(_slow_message, ("slow_message",), End.STAY, drips=True, connections=30),
    "starved windows": Attack(_same(_starved), ("slow_reader",), End.STAY),
    "answers not read": Attack(_deaf, ("slow_reader",), end=End.DEAF, connections=3, rate=1),
    "100 MB messages": Attack(_hundred_megabytes, ("message",), end=End.LEAVE, connections=4, rate=1),
    "messages never whole": Attack(_same(_never_whole), ("waiting", "slow_message"), End.STAY, connections=6, rate=2),
    "truncated prefixes": Attack(_same(_truncated_prefixes(end=True)), end=End.HANG_UP, rate=5),
    "prefixes never whole": Attack(_same(_truncated_prefixes(end=False)), ("slow_message",), End.STAY, rate=5),
    "hung up after calls": Attack(_same(_calls(NOBODYS)), end=End.HANG_UP, rate=5),
    "hung up within a call": Attack(_same(_half_a_call), end=End.HANG_UP, connections=90, rate=100),
    "gone with calls up": Attack(_same(_calls(NOBODYS)), end=End.RESET, connections=30, rate=5),
    "gone with answers unread": Attack(_same(_calls(CHECK)), end=End.RESET, connections=30),
    "silent connections": Attack(lambda _: (b"",), ("slow_message",), connections=60),
    "too many connections": Attack(lambda _: (b"",), ("connections",), connections=300, rate=100),
}


class Client:
    """One bad client, from its beginning to its end."""

    def __init__(self, attack: Attack, number: int) -> None:
        self._attack, self._number = attack, number
        self._cut = asyncio.Event()

    async def live(self, port: int, seconds: float) -> None:
        """Says all, and ends as it does; after `seconds` it is gone in any case."""
        loop = asyncio.get_running_loop()
        # First, so that nobody waits for its being made.
        said = iter(self._attack.script(self._number))
        pieces = itertools.chain([next(said)], said)
        with contextlib.suppress(OSError, TimeoutError), socket.socket() as connection:
            connection.setblocking(False)
            if self._attack.end is End.DEAF:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            listening = None
            try:
                async with asyncio.timeout(seconds):
                    await loop.sock_connect(connection, ("127.0.0.1", port))
                    if self._attack.end is not End.DEAF:
                        listening = loop.create_task(self._listen(connection))
                    await self._say(connection, pieces)
                    await self._end(connection)
            finally:
                if listening is not None:
                    listening.cancel()
                    await asyncio.wait([listening])
                if self._attack.end is End.RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _listen(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while await loop.sock_recv(connection, 1 << 18):
                pass
        self._cut.set()

    async def _say(self, connection: socket.socket, pieces: Iterable[bytes]) -> None:
        loop = asyncio.get_running_loop()
        for number, piece in enumerate(pieces):
            if not (self._attack.drips and number):
                await loop.sock_sendall(connection, piece)
                continue
            for byte in piece:
                await loop.sock_sendall(connection, bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._cut.wait(), _DRIP_SECONDS)
                    return

    async def _end(self, connection: socket.socket) -> None:
        if self._attack.end is End.HANG_UP:
            connection.shutdown(socket.SHUT_WR)
        if self._attack.end in (End.WAIT, End.STAY, End.HANG_UP):
            await self._cut.wait()


async def attack(name: str, port: int, connections: int, rate: float, seconds: float) -> None:
    """Has so many clients do as the attack `name`: all at once, or with `rate` so many begun in a second.

    Each is gone after `seconds`, if it was not cut off before.
    """
    how = ATTACKS[name]
    next(iter(how.script(0)))  # what all say is made before the first of them comes
    print(READY, flush=True)
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as clients:
        for number in range(connections):
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - asyncio.get_running_loop().time()))
            clients.create_task(Client(how, number).live(port, seconds))


def main() -> None:
    """Attacks as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=ATTACKS)
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    asyncio.run(attack(options.name, options.port, options.connections, options.rate, options.seconds))


if __name__ == "__main__":
    main()
